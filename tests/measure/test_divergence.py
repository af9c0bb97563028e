import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.keras_gate import tf_keras
from tfopt.measure.divergence import kl_divergence, probabilities

LOGITS = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def softmax(raw):
    raw = np.exp(raw - raw.max(axis=-1, keepdims=True))
    return (raw / raw.sum(axis=-1, keepdims=True)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(2, 9))
def test_it_is_never_negative_and_zero_for_the_same(seed, samples, classes):
    generator = np.random.default_rng(seed)
    ours, theirs = (softmax(5 * generator.normal(size=(samples, classes))) for _ in range(2))
    assert kl_divergence([ours], [theirs]) >= 0
    assert kl_divergence([ours], [ours]) == 0
    rounded = np.rint(ours * 256) / 256  # zeros count as small, not as impossible
    assert 0 <= kl_divergence([rounded], [ours]) < np.inf


def test_it_is_the_formula_with_the_baseline_first():
    ours, theirs = np.array([[0.7, 0.3]]), np.array([[0.4, 0.6]])
    expected = 0.4 * np.log(0.4 / 0.7) + 0.6 * np.log(0.6 / 0.3)
    assert kl_divergence([ours], [theirs]) == pytest.approx(expected, rel=1e-4)
    assert kl_divergence([ours[:, :1]], [theirs[:, :1]]) == pytest.approx(expected, rel=1e-4)
    assert kl_divergence([ours[:, 0]], [theirs[:, 0]]) == pytest.approx(expected, rel=1e-4)


def test_logits_are_told_by_the_loss():
    raw = np.random.default_rng(0).normal(size=(2, 30, 5))
    assert kl_divergence([raw[0]], [raw[1]]) is None
    assert kl_divergence([raw[0]], [raw[1]], losses=[LOGITS]) == pytest.approx(
        kl_divergence([softmax(raw[0])], [softmax(raw[1])]), rel=1e-3
    )
    one = probabilities(raw[0][:, :1], LOGITS, like=raw[0][:, :1])
    np.testing.assert_allclose(one[:, 1], 1 / (1 + np.exp(-raw[0][:, 0])), rtol=1e-3)


def test_numbers_have_none_and_count_in_no_mean():
    numbers, classes = np.random.default_rng(0).random((2, 9, 1)), softmax(np.eye(9))
    assert kl_divergence([numbers[0]], [numbers[1]], losses=["mae"]) is None
    assert kl_divergence([classes, numbers[0]], [classes[::-1], numbers[1]], losses=[
        "categorical_crossentropy", "mse"
    ]) == kl_divergence([classes], [classes[::-1]])  # fmt: skip
    assert kl_divergence([np.zeros((3, 2), int)], [np.ones((3, 2), int)]) is None


def test_maps_of_classes_are_taken_in_parts(monkeypatch):
    from tfopt.measure import divergence

    generator = np.random.default_rng(0)
    ours, theirs = (softmax(generator.normal(size=(7, 4, 4, 3))) for _ in range(2))
    whole = kl_divergence([ours], [theirs])
    monkeypatch.setattr(divergence, "_CHUNK", 60)
    assert kl_divergence([ours], [theirs]) == pytest.approx(whole)
