import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt
from tfopt import facts
from tfopt.keras_gate import tf_keras

layers = tf_keras.layers


def dense(kernel):
    model = tf_keras.Sequential([layers.Input((len(kernel),)), layers.Dense(kernel.shape[1])])
    model.layers[0].set_weights([kernel, np.zeros(kernel.shape[1])])
    return model


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5000), st.floats(0.01, 0.99), st.floats(0, 1))
def test_any_number_of_steps_reaches_the_sparsity_with_few_updates_and_steps_to_recover(
    steps, sparsity, share
):
    technique = tfopt.MagnitudePruning(
        sparsity=sparsity, initial_sparsity=share * sparsity, epochs=1
    )
    schedule = technique._fitted_schedule(steps)
    moments = np.arange(1, steps + 1)
    updates, shares = (np.array(value) for value in schedule(moments))
    assert 1 <= updates.sum() <= 22
    last = moments[updates][-1]
    assert shares[last - 1] == np.float32(sparsity)
    assert last <= steps
    assert (np.diff(shares) >= -1e-6).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 0.99))
def test_equal_magnitudes_are_told_apart(rows, columns, sparsity):
    technique = tfopt.MagnitudePruning(sparsity=sparsity, schedule="constant")
    pruned = technique.wrap(dense(np.ones((rows, columns))), steps_per_epoch=1).strip()
    zeros = rows * columns * facts.measure(pruned).sparsity
    assert zeros == pytest.approx(
        rows * columns - max(1, round(rows * columns * (1 - sparsity))), abs=1
    )


def test_the_largest_weights_stay():
    kernel = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    technique = tfopt.MagnitudePruning(sparsity=0.7, schedule="constant")
    pruned = technique.wrap(dense(kernel), steps_per_epoch=1).strip().get_weights()[0]
    order = np.argsort(-np.abs(kernel).ravel())
    np.testing.assert_array_equal(np.flatnonzero(pruned), np.sort(order[:60]))
    assert (pruned[pruned != 0] == kernel[pruned != 0]).all()


@pytest.mark.parametrize("pattern", [{}, {"block": (2, 2)}, {"m_by_n": (2, 4)}])
def test_zeros_a_model_comes_with_are_never_given_back(pattern):
    random = np.random.default_rng(0)
    kernel = random.normal(size=(16, 8)) * (random.random((16, 8)) < 0.2)
    technique = tfopt.MagnitudePruning(sparsity=0.5, epochs=4, **pattern)
    wrapped = technique.wrap(dense(kernel), steps_per_epoch=4)
    wrapped.model.compile("adam", "mse")
    wrapped.model.fit(np.ones((16, 16)), np.ones((16, 8)), batch_size=4, epochs=4, verbose=0)
    pruned = wrapped.strip().get_weights()[0]
    assert (pruned[kernel == 0] == 0).all()
    assert np.mean(pruned == 0) >= max(0.5, np.mean(kernel == 0))


def test_two_of_four_along_the_input_channels_of_a_convolution():
    model = tf_keras.Sequential([layers.Input((5, 5, 6)), layers.Conv2D(3, 3)])
    technique = tfopt.MagnitudePruning(sparsity=0.5, m_by_n=(2, 4))
    kernel = technique.wrap(model, steps_per_epoch=4).strip().get_weights()[0]
    for start in (0, 4):
        group = kernel[:, :, start : start + 4]
        assert (np.count_nonzero(group, axis=2) == 2).all()
