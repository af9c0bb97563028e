"""Ranges of kernels: inside the largest magnitude, and with a smaller error."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from tfopt.rounding.clipping import scales
from tfopt.rounding.grid import Grid


def error(weights, scale, largest):
    grid = Grid.of(weights, scale, largest)
    return np.square(grid.weights(grid.nearest()) - weights).sum(axis=1)


@pytest.mark.parametrize("ranges", ["mse", "octav"])
def test_a_clipped_range_has_a_smaller_error_at_4_bits(ranges):
    weights = np.random.default_rng(0).laplace(size=(2, 500, 8))
    whole, clipped = (scales(weights, largest=7, ranges=name) for name in ("max", ranges))
    assert clipped.shape == (2, 1, 8)
    assert np.all(error(weights, clipped, 7) < 0.9 * error(weights, whole, 7))


def test_trying_and_newtons_method_nearly_agree():
    weights = np.random.default_rng(1).normal(size=(1, 20_000, 3))
    tried, solved = (scales(weights, largest=7, ranges=name) for name in ("mse", "octav"))
    np.testing.assert_allclose(tried, solved, rtol=0.1)


@hypothesis.given(
    seed=strategies.integers(0, 1000),
    largest=strategies.sampled_from([7, 127]),
    ranges=strategies.sampled_from(["max", "mse", "octav"]),
    zeros=strategies.floats(0, 1),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_each_channel_keeps_a_weight_at_the_end_of_the_range(seed, largest, ranges, zeros):
    random = np.random.default_rng(seed)
    shape = random.integers(1, 12, 3)
    weights = random.normal(size=shape) * np.exp(3 * random.normal(size=(1, 1, shape[2])))
    weights = np.where(random.random(shape) < zeros, 0, weights).astype(np.float32)
    scale = scales(weights, largest=largest, ranges=ranges)
    alive = np.abs(weights).max(axis=1, keepdims=True) > 0
    assert np.all((scale > 0) == alive)
    grid = Grid.of(weights, scale, largest)
    integers = np.abs(grid.nearest()).max(axis=1, keepdims=True)
    np.testing.assert_array_equal(integers, np.where(alive, largest, 0))
    at_the_end = grid.fixed & (np.abs(grid.nearest()) == largest)
    np.testing.assert_array_equal(at_the_end.any(axis=1, keepdims=True), alive)
    assert np.all(grid.nearest()[weights == 0] == 0)


def test_zeros_count_for_nothing_in_newtons_method():
    weights = np.random.default_rng(0).normal(size=(1, 300, 1))
    thinned = np.concatenate([weights, np.zeros((1, 3000, 1))], axis=1)
    ours, theirs = (scales(each, largest=7, ranges="octav") for each in (weights, thinned))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
