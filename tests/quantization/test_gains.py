"""Kernels inside of attention, recurrent and TimeDistributed layers: on the grid of the file."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt import facts
from tfopt.keras_gate import tf_keras
from tfopt.quantization.grid import Grid, einsum_channels, inner_grids
from tfopt.target import Target
from tfopt.task import Task
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.tflite.convert import convert
from tfopt.tflite.tracing import has_lstm_ops

layers = tf_keras.layers

# Each with the shape of what it takes.
LAYERS = {
    "attention": (layers.MultiHeadAttention(2, 4), (6, 8)),
    "einsum": (layers.EinsumDense("abc,cde->abde", (None, 2, 5)), (6, 8)),
    "each": (layers.TimeDistributed(layers.Dense(5)), (6, 8)),
    "lstm": (layers.LSTM(5), (6, 8)),
    "unrolled": (layers.LSTM(5, activation="relu"), (6, 8)),  # which is no LSTM op
    "gru": (layers.GRU(5), (6, 8)),
    "gru_before": (layers.GRU(5, reset_after=False), (6, 8)),
    "simple": (layers.SimpleRNN(5), (6, 8)),
    "both_ways": (layers.Bidirectional(layers.LSTM(5)), (6, 8)),
    "video": (layers.ConvLSTM2D(3, 2), (2, 4, 4, 2)),
}


def model_of(name):
    tf_keras.utils.set_random_seed(1)
    layer, shape = LAYERS[name]
    layer = type(layer).from_config({**layer.get_config(), "name": name})
    x = layers.Input(shape, name="x")
    y = layer(x, x) if name == "attention" else layer(x)
    return tf_keras.Model(x, layers.Dense(2, name="top")(layers.Flatten()(y)))


def task_of(model):
    random = np.random.default_rng(0)
    x = random.normal(size=(64, *model.input_shape[1:])).astype("float32")
    y = random.normal(size=(64, 2)).astype("float32")
    return Task.from_arrays((x, y), (x, y), loss="mse", batch_size=16)


def channels(values):
    """The weights of each channel, in any order."""
    return {tuple(sorted(row.ravel().tolist())) for row in values}


def integers_in(tflite):
    """The integers of each output channel of each constant in a file."""
    interpreter = tf.lite.Interpreter(
        model_content=tflite,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    found = set()
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] is np.int8 and len(tensor["shape"]) > 1:
            try:
                found |= channels(interpreter.get_tensor(tensor["index"]))
            except ValueError:  # what is computed has no value yet
                continue
    return found


_QUICK = ("lstm", "attention", "gru")  # one of each kind of scales; the others take as long each


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow) for name in LAYERS],
)
def test_the_file_has_the_integers_that_were_trained(name):
    model = model_of(name)
    task = task_of(model)
    optimized = QuantizationAware(epochs=3, learning_rate=1e-2).apply(model, task)
    layer = optimized.get_layer(name)
    grids = inner_grids(layer, lstm_ops=has_lstm_ops(optimized))
    kernels = facts.kernels(layer)
    assert {id(kernel) for kernel in kernels.values()} == set(grids)
    in_file = integers_in(convert(optimized, task=task, target=Target.int8()))
    for key, kernel in kernels.items():
        assert not np.array_equal(kernel, facts.kernels(model.get_layer(name))[key])
        grid, value = grids[id(kernel)], kernel.numpy()
        if grid.gates:
            value = value.reshape(*value.shape[:-1], grid.gates, -1)
        axes = (value.ndim - 2,) if grid.gates else grid.channel_axes
        within = tuple(axis for axis in range(value.ndim) if axis not in axes)
        integers = value / (np.abs(value).max(axis=within, keepdims=True) / 127)
        np.testing.assert_allclose(integers, np.round(integers), atol=2e-3)
        outputs = grid.channel_axes if not grid.gates else (value.ndim - 2, value.ndim - 1)
        last = np.moveaxis(np.round(integers), outputs, range(len(outputs)))
        rows = last.reshape(np.prod([value.shape[axis] for axis in outputs]), -1)
        assert channels(rows.astype(int)) <= in_file, key


def test_a_layer_left_out_trains_in_floating_point():
    model = model_of("gru")
    optimized = QuantizationAware(skip=("gru",), epochs=0.5).apply(model, task_of(model))
    kernel = optimized.get_layer("gru").cell.kernel.numpy()
    integers = kernel / (np.abs(kernel).max(axis=0) / 127)
    assert np.abs(integers - np.round(integers)).max() > 0.1


def test_small_steps_add_up():
    model = model_of("simple")
    wrapped = QuantizationAware().wrap(model, steps_per_epoch=1)
    kernel = wrapped.model.get_layer("simple").cell.kernel
    start = kernel.numpy()
    step = np.abs(start).max(axis=0) / 127
    wrapped.model.compile(tf_keras.optimizers.SGD(1e-9), "mse")
    x = np.ones((8, 6, 8), "float32")
    wrapped.model.fit(x, np.ones((8, 2)), epochs=2, verbose=0)
    np.testing.assert_allclose(kernel, start, atol=1e-6)  # far less than half a step
    sure = tf_keras.optimizers.SGD(1e-2)
    wrapped.model.compile(sure, "mse")
    wrapped.model.fit(x, np.full((8, 2), 9.0), epochs=30, verbose=0)
    assert np.abs(kernel - start).max() > step.min()


@pytest.mark.parametrize(
    ("equation", "axes"),
    [("...x,xy->...y", (1,)), ("abc,cd->abd", (1,)), ("abcd,cde->abe", (2,)), ("ab,ab->ab", ())],
)
def test_channels_of_einsum(equation, axes):
    assert einsum_channels(equation) == axes


def test_a_gate_has_one_scale():
    kernel = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    rounded = Grid((1,), gates=4).rounded(kernel).numpy().reshape(3, 4, 2)
    steps = np.abs(kernel.reshape(3, 4, 2)).max(axis=(0, 2), keepdims=True) / 127
    np.testing.assert_allclose(rounded / steps, np.round(rounded / steps), atol=1e-3)
