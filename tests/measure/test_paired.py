import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt
from tfopt.errors import SettingError
from tfopt.measure.paired import _mcnemar, difference
from tfopt.measure.quality import evaluate
from tfopt.testing import dense_net


class Scores:
    """A model's answers, of which the first `wrong` are wrong."""

    metric, split = "accuracy", "test"

    def __init__(self, right):
        self.right = np.asarray(right)
        self.samples = len(self.right)
        self.value = float(self.right.mean())
        self.statistic = lambda index: float(self.right[index].mean())


# Agresti and Min (2005), table I: 1,144 people, 132 and 107 who changed between two answers.
def test_the_interval_of_matched_shares_is_the_published_one():
    ours = [True] * 107 + [False] * 132 + [True] * (1144 - 239)
    theirs = [False] * 107 + [True] * 132 + [True] * (1144 - 239)
    found = difference(Scores(ours), Scores(theirs))
    assert (found.low, found.high) == pytest.approx((-0.048, 0.005), abs=1e-3)
    assert found.value == pytest.approx((107 - 132) / 1144)


def test_mcnemar_is_the_binomial_test():
    assert _mcnemar(0, 6) == pytest.approx(2 / 64)
    assert _mcnemar(1, 9) == pytest.approx(2 * 11 / 1024)
    assert _mcnemar(5, 5) == 1 and _mcnemar(0, 0) == 1


def test_a_large_loss_is_no_noise_and_a_small_one_is():
    truth = np.ones(1000, bool)
    bad, near = truth.copy(), truth.copy()
    bad[:50], near[:2] = False, False
    assert not difference(Scores(bad), Scores(truth)).within_noise
    told = difference(Scores(near), Scores(truth))
    assert told.within_noise and "within the noise" in str(told)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=300),
)
def test_the_interval_holds_the_difference_and_turns_with_the_order(pairs):
    ours, theirs = (Scores(side) for side in zip(*pairs, strict=True))
    found, turned = difference(ours, theirs), difference(theirs, ours)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_other_metrics_are_compared_by_bootstrap():
    generator = np.random.default_rng(0)
    x = generator.random((60, 8, 8, 1), np.float32)
    y = generator.random((60, 10), np.float32)
    task = tfopt.Task.from_arrays((x, y), (x, y), loss="mse", metric="mae")
    one, other = (evaluate(dense_net(), task=task) for _ in range(2))
    found = difference(one, other)
    assert found.p_value is None and found.low < found.value < found.high
    assert difference(one, one).value == 0


def test_other_samples_are_refused():
    with pytest.raises(SettingError, match=r"measured on the same samples.*same task and split"):
        difference(Scores([True]), Scores([True, False]))
