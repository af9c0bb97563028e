import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.measure.intervals import bootstrap, wilson


# Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@settings(max_examples=100, deadline=None)
@given(trials=st.integers(1, 10**7), share=st.floats(0, 1))
def test_wilson_holds_the_share_and_stays_within_0_and_1(trials, share):
    successes = round(share * trials)
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1 and low < high


def test_bootstrap_is_near_the_normal_interval_of_a_mean():
    values = np.random.default_rng(0).normal(3, 2, 2000)
    low, high = bootstrap(lambda index: values[index].mean(), 2000, seed=0)
    margin = 1.96 * values.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - margin, values.mean() + margin), abs=0.01)


def test_bootstrap_is_seeded():
    values = np.random.default_rng(0).normal(size=50)

    def interval(seed):
        return bootstrap(lambda index: values[index].mean(), 50, seed=seed)

    assert interval(1) == interval(1) != interval(2)


def test_resamples_without_a_value_are_left_out():
    def sometimes(index):
        return float("nan") if index[0] % 2 else 1.0

    assert bootstrap(sometimes, 10, seed=0) == (1.0, 1.0)
    assert np.isnan(bootstrap(lambda index: float("nan"), 10, seed=0)).all()


def test_many_samples_are_drawn_less_often():
    drawn = []
    bootstrap(lambda index: drawn.append(len(index)) or 0.0, 1_000_000, seed=0, resamples=5)
    assert drawn == [1_000_000] * 5
    drawn.clear()
    bootstrap(lambda index: drawn.append(len(index)) or 0.0, 100_000, seed=0)
    assert len(drawn) == 500
