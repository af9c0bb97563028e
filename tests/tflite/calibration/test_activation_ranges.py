"""Histograms, and the ranges made of them, against plain numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.tflite.calibration import entropy, mse, ranges
from tfopt.tflite.calibration.grid import INT8, INT16, Grid
from tfopt.tflite.calibration.histogram import BINS, Histogram, Range


def histogram_of(values):
    values = np.asarray(values, np.float32)
    histogram = Histogram(Range(float(values.min()), float(values.max())))
    histogram.add(values)
    return histogram


def distribution(kind, seed=0, size=20_000):
    generator = np.random.default_rng(seed)
    return {
        "normal": lambda: generator.normal(size=size),
        "relu": lambda: np.maximum(generator.normal(size=size), 0),
        "long": lambda: generator.laplace(size=size) ** 3,
        "swish": lambda: (lambda x: x / (1 + np.exp(-x)))(3 * generator.normal(size=size)),
        "few": lambda: generator.normal(size=10),
    }[kind]().astype(np.float32)


KINDS = ["normal", "relu", "long", "swish", "few"]


def rounded(values, low, high, grid):
    """The values as integers hold them, one by one."""
    step, lowest, highest = (float(x[0]) for x in grid.laid_over(np.array([low]), np.array([high])))
    return np.clip(np.rint(values.astype(np.float64) / step) * step, lowest, highest)


@given(seed=st.integers(0, 50), shift=st.floats(-3, 3), scale=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_a_histogram_holds_every_value(seed, shift, scale):
    values = (np.random.default_rng(seed).normal(shift, 1, 500) * scale).astype(np.float32)
    values[:20] = 0
    histogram = histogram_of(values)
    assert histogram.total == 500 and histogram.zeros == 20
    assert histogram.positive.sum() == (values > 0).sum()
    assert histogram.negative.sum() == (values < 0).sum()
    assert (histogram.positive >= 0).all() and (histogram.negative >= 0).all()
    low, high = histogram.extremes
    assert low <= 0 <= high
    assert max(len(histogram.positive), len(histogram.negative)) == BINS


def test_values_beyond_the_extremes_go_to_the_ends():
    histogram = Histogram(Range(-1, 1))
    histogram.add(np.array([-1.5, 1.5], np.float32))
    assert histogram.positive[-1] == histogram.negative[-1] == 1


def test_a_histogram_of_zeros():
    histogram = histogram_of(np.zeros(5))
    assert histogram.total == histogram.zeros == 5
    assert ranges.percentile(histogram) == (0, 0)
    assert entropy.least_divergence(histogram, INT8) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.99, 0.999, 1.0])
def test_a_percentile_is_numpys(kind, share):
    values = distribution(kind)
    histogram = histogram_of(values)
    low, high = ranges.percentile(histogram, share=share)
    sides = 2 if (values < 0).any() and (values > 0).any() else 1
    want = np.quantile(values, 1 - (1 - share) / sides, method="inverted_cdf")
    assert abs(high - want) <= 2 * histogram.width
    if sides == 2:
        want = np.quantile(values, (1 - share) / sides, method="inverted_cdf")
        assert abs(low - want) <= 2 * histogram.width
    else:
        assert low == 0


def test_a_moving_average_is_the_recursion_without_its_start():
    extremes = np.random.default_rng(0).normal([-3, 3], size=(50, 2))
    low, weight = 0.0, 0.0
    for smallest, _ in extremes:
        low, weight = 0.9 * low + 0.1 * smallest, 0.9 * weight + 0.1
    assert ranges.moving_average(extremes, decay=0.9).low == pytest.approx(low / weight)
    assert ranges.moving_average(extremes[:1]) == pytest.approx(tuple(extremes[0]))


@pytest.mark.parametrize("grid", [INT8, INT16, Grid(15)], ids=["int8", "int16", "int4"])
@pytest.mark.parametrize("kind", ["normal", "relu", "swish"])
def test_the_squared_error_is_that_of_rounding_each_value(kind, grid):
    values = distribution(kind, size=400_000)
    histogram = histogram_of(values)
    low, high = histogram.extremes
    for share in (1.0, 0.6, 0.3):
        found = mse.squared_error(
            histogram, grid, np.array([share * low]), np.array([share * high])
        )
        want = np.mean((rounded(values, share * low, share * high, grid) - values) ** 2)
        # a 16-bit step is far narrower than a bin: nothing but the mean is known of it
        assert found[0] == pytest.approx(want, rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_mse_is_no_worse_than_the_extremes_and_near_the_best(kind):
    values = distribution(kind)
    histogram = histogram_of(values)
    chosen = mse.smallest_error(histogram, INT8)
    error = np.mean((rounded(values, *chosen, INT8) - values) ** 2)
    widest = np.mean((rounded(values, *histogram.extremes, INT8) - values) ** 2)
    assert error <= widest * 1.02
    low, high = histogram.extremes
    grid = [(a * low, b * high) for a in np.linspace(0.1, 1, 19) for b in np.linspace(0.1, 1, 19)]
    best = min(np.mean((rounded(values, *ends, INT8) - values) ** 2) for ends in grid)
    assert error <= 1.1 * best + 1e-12


def test_mse_clips_an_outlier_and_nothing_else():
    values = np.append(distribution("normal", size=1_000_000), 50)
    low, high = mse.smallest_error(histogram_of(values), INT8)
    assert 4 < high < 40 and -5 < low < -3
    low, high = mse.smallest_error(histogram_of(np.linspace(-1, 1, 10_001)), INT8)
    assert (low, high) == pytest.approx((-1, 1), abs=0.03)


def migacz(counts, levels, stride=8):
    """TensorRT's search for a threshold, as the slides have it."""
    best, threshold = np.inf, len(counts)
    for kept in range(len(counts), levels - 1, -stride):
        reference = counts[:kept].astype(float)
        reference[-1] += counts[kept:].sum()
        candidate = np.zeros(kept)
        for level in range(levels):
            part = slice(level * kept // levels, (level + 1) * kept // levels)
            used = reference[part] > 0
            if used.any():
                candidate[part][used] = counts[:kept][part].sum() / used.sum()
        candidate[(candidate == 0) & (reference > 0)] = 1e-4 * reference.sum()
        p, q = reference / reference.sum(), candidate / candidate.sum()
        divergence = np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0]))
        if divergence < best - 1e-12:
            best, threshold = divergence, kept
    return threshold


@pytest.mark.parametrize("kind", ["normal", "relu", "long"])
def test_entropy_is_tensorrts_search(kind):
    values = distribution(kind, size=50_000)
    histogram = histogram_of(values)
    low, high = entropy.least_divergence(histogram, Grid(254, symmetric=True))
    magnitudes = np.zeros(BINS, int)
    for counts in (histogram.positive, histogram.negative):
        magnitudes[: len(counts)] += counts
    levels = round(255 / 2)
    assert max(-low, high) == pytest.approx(migacz(magnitudes, levels) * histogram.width, rel=1e-6)


def test_entropy_clips_long_tails_on_one_side_and_two():
    tails = np.random.default_rng(0).laplace(size=200_000)
    tails = np.append(tails, [-60, 80])
    low, high = entropy.least_divergence(histogram_of(tails), INT8)
    assert 4 < high < 40 and -40 < low < -4
    low, high = entropy.least_divergence(histogram_of(np.abs(tails)), INT8)
    assert low == 0 and 4 < high < 40


@pytest.mark.parametrize("kind", KINDS)
def test_sixteen_bits_lose_no_information_and_next_to_no_precision(kind):
    histogram = histogram_of(distribution(kind))
    assert entropy.least_divergence(histogram, INT16) == histogram.extremes
    if kind != "long":
        chosen = mse.smallest_error(histogram, INT16)
        assert max(np.abs(chosen)) > 0.85 * max(np.abs(histogram.extremes))


@given(seed=st.integers(0, 99), spread=st.floats(0.1, 4), positive=st.booleans())
@settings(max_examples=20, deadline=None)
def test_every_method_stays_within_the_extremes(seed, spread, positive):
    values = np.random.default_rng(seed).lognormal(0, spread, 400)
    values = values if positive else values - np.median(values)
    histogram = histogram_of(values)
    for low, high in (
        ranges.percentile(histogram),
        mse.smallest_error(histogram, INT8),
        entropy.least_divergence(histogram, INT8),
    ):
        assert histogram.extremes.low <= low <= 0 <= high <= histogram.extremes.high
        assert high > low
