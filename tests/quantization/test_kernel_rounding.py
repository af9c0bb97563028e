"""Fake quantization of kernels: how they are rounded, and what is kept."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from tfopt.keras_gate import clone, tf_keras
from tfopt.quantization.grid import CHANNEL_AXES, round_kernel
from tfopt.quantization.kernels import (
    KernelConfig,
    KernelQuantizer,
    KernelWrapper,
    channels_share_values,
)

layers = tf_keras.layers


@hypothesis.given(
    seed=strategies.integers(0, 1000),
    rank=strategies.integers(1, 4),
    spread=strategies.floats(0, 6),
    channels=strategies.booleans(),
)
@hypothesis.settings(max_examples=25, deadline=None)
def test_rounding_moves_no_weight_by_more_than_half_a_step(seed, rank, spread, channels):
    random = np.random.default_rng(seed)
    shape = random.integers(1, 5, rank)
    kernel = random.normal(size=shape) * np.exp(spread * random.normal(size=shape[-1:]))
    kernel = np.where(random.random(shape) < 0.3, 0, kernel).astype(np.float32)
    axes = (rank - 1,) if channels else ()
    rounded = round_kernel(kernel, axes).numpy()
    within = tuple(axis for axis in range(rank) if axis not in axes)
    step = np.abs(kernel).max(axis=within, keepdims=True) / 127
    assert np.all(np.abs(rounded - kernel) <= 0.501 * step)
    assert np.all(rounded[kernel == 0] == 0)
    integers = np.divide(rounded, step, out=np.zeros_like(rounded), where=step > 0)
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-3)


def test_gradients_pass_through_the_rounding():
    kernel = tf.constant([[1.0, -2.0], [0.3, 0.7]])
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        loss = tf.reduce_sum(round_kernel(kernel, (1,)) * [[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(tape.gradient(loss, kernel), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("kernel", "shared"),
    [
        ([[1, 2, 1], [2, 1, 2]], True),
        ([[1, 3, 5], [2, 4, 6]], False),
        ([[0, 0, 0], [2, 4, 6]], False),  # zero is everyone's and says nothing
        ([[1], [2]], False),
    ],
)
def test_channels_share_values(kernel, shared):
    assert channels_share_values(np.array(kernel), (1,)) is shared


def test_channels_of_a_depthwise_kernel_are_two_axes():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 2))
    assert not channels_share_values(kernel, (2, 3))
    assert channels_share_values(np.sign(kernel), (2, 3))


def dense_with(kernel, *, clustered=False, trainable=True):
    """A wrapped Dense layer in a model, its kernel as given."""
    kernel = np.array(kernel, np.float32)
    dense = layers.Dense(kernel.shape[1], use_bias=False, name="top", trainable=trainable)
    dense.build((None, len(kernel)))
    dense.kernel.assign(kernel)
    config = KernelConfig({"kernel": KernelQuantizer((1,), clustered)})
    model = tf_keras.Sequential([layers.Input((len(kernel),)), KernelWrapper(dense, config)])
    return model, model.layers[-1]


def trained(model, wrapper):
    """The kernel training sees after some steps."""
    random = np.random.default_rng(0)
    model.compile(tf_keras.optimizers.Adam(0.1), "mse")
    x = random.normal(size=(64, model.input_shape[1])).astype(np.float32)
    model.fit(x, random.normal(size=(64, model.output_shape[1])), epochs=3, verbose=0)
    kernel, quantizer, state = wrapper._weight_vars[0]
    return quantizer.shared(kernel, state).numpy()


def test_zeros_stay_zeros():
    before = np.array([[1.0, 0.0], [0.0, 0.5], [-0.4, 0.3]])
    after = trained(*dense_with(before))
    assert np.all((after == 0) == (before == 0))
    assert np.all(after[before != 0] != before[before != 0])


def test_equal_weights_stay_equal_and_add_up_their_gradients():
    before = np.array([[1.0, 0.5], [0.5, 1.0], [0.0, 0.5]])
    model, wrapper = dense_with(before, clustered=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(np.array([[1.0, 10.0, 100.0]]), training=True))
    (gradient,) = tape.gradient(loss, model.trainable_variables)
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), [[11, 111], [0, 0], [0, 0]])
    after = trained(model, wrapper)
    assert after[0, 0] == after[1, 1] != 1
    assert after[0, 1] == after[1, 0] == after[2, 1] != 0.5
    assert after[2, 0] == 0


def test_a_frozen_layer_is_rounded_and_not_trained():
    before = np.array([[1.0, 0.503], [0.5, 1.0]])
    model, wrapper = dense_with(before, trainable=False)
    assert model.trainable_variables == []
    assert model(np.eye(2)).numpy()[0, 1] != np.float32(0.503)
    np.testing.assert_array_equal(wrapper._weight_vars[0][0], before.astype(np.float32))
    wrapper.trainable = True
    assert [weight.name for weight in model.trainable_variables] == ["kernel:0"]


@pytest.mark.parametrize("trainable", [True, False])
def test_a_wrapped_layer_can_be_cloned(trainable):
    model, _ = dense_with([[1.0, 0.5], [0.5, 1.0]], clustered=True, trainable=trainable)
    copy = clone(model)
    np.testing.assert_array_equal(copy(np.eye(2)), model(np.eye(2)))
    quantizer = copy.layers[-1].quantize_config.quantizers["kernel"]
    assert (quantizer.channel_axes, quantizer.clustered) == ((1,), True)


def test_the_layers_with_kernels_have_them_where_it_is_said():
    for kind, kernels in CHANNEL_AXES.items():
        separable = len(kernels) == 2
        layer = kind(2, 3) if separable or "Conv" in kind.__name__ else kind(2)
        if "Depthwise" in kind.__name__:
            layer = kind(3, depth_multiplier=2)
        rank = next(int(digit) + 2 for digit in f"{kind.__name__}0" if digit.isdigit())
        layer.build((None, *[8] * (rank - 2), 4))
        for name, axes in kernels.items():
            kernel = getattr(layer, name)
            channels = np.prod([kernel.shape[axis] for axis in axes])
            assert channels == (
                8
                if name == "depthwise_kernel" and not separable
                else 4
                if name == "depthwise_kernel"
                else 2
            )
