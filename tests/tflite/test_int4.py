"""4-bit weights: on the grid and exact, in files that run, with what keeps 8 bits listed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.errors import SettingError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.task import Task
from tfopt.tflite import schema
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.int4 import nibbles, pack_weights, to_4_bits
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers
KERNELS = ("default", "builtin", "reference")


def model_of(shape, *stack):
    """A functional model of layers one after the other, with weights and biases that matter."""
    x = inputs = layers.Input(shape, name="input")
    for layer in stack:
        x = layer(x)
    model = tf_keras.Model(inputs, x)
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0.1, 0.4, w.shape) for w in model.get_weights()])
    return model


def task_of(model, count=32):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(count, *model.input_shape[1:])).astype(np.float32)
    y = np.zeros((count, *model.output_shape[1:]), np.float32)
    return Task.from_arrays((x, y), (x, y), loss="mse", metric=lambda labels, outputs: 0.0)


def on_grid(model, seed=0):
    """Puts every kernel of a model on a 4-bit grid; some channels do not use its ends."""
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if "kernel" in variable.name:
            steps = generator.uniform(
                0.01, 2.0, (1,) * (len(variable.shape) - 1) + (variable.shape[-1],)
            )
            reach = generator.integers(1, 8, steps.shape)
            integers = generator.integers(-reach, reach + 1, variable.shape)
            variable.assign(integers * steps.astype(np.float32))
    return model


def stored(tflite):
    """The real numbers of the weights in a file, by the layer."""
    model, found = schema.unpack(tflite), {}
    for op in inspect(tflite).ops:
        for kernel in op.kernels:
            tensor = model.subgraphs[0].tensors[kernel.index]
            values = schema.values(model.buffers[tensor.buffer].data, tensor).astype(np.float64)
            axes = [1] * values.ndim
            axes[kernel.quantized_dimension] = len(kernel.scales)
            found[op.layer] = values * np.reshape(kernel.scales, axes)
    return found


channels = st.lists(st.integers(-7, 7), min_size=1, max_size=12)


@given(channel=channels, step=st.floats(1e-6, 1e6), data=st.data())
@settings(max_examples=60, deadline=None)
def test_weights_on_a_4_bit_grid_are_found_again_after_rounding_to_8_bits(channel, step, data):
    real = np.array(channel) * step
    scale = np.abs(real).max() / 127 or 1.0
    found, steps = to_4_bits(np.rint(real / scale).astype(np.int8)[None])
    assert np.abs(found).max() <= 7
    np.testing.assert_allclose(found[0] * steps[0] * scale, real, rtol=1e-9)


@given(st.lists(st.integers(-127, 127), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_other_weights_are_off_by_half_a_step_at_most(channel):
    found, steps = to_4_bits(np.array([channel], np.int8))
    assert np.abs(found).max() <= 7
    assert (
        np.abs(found[0] * steps[0] - channel).max() <= max(np.abs(channel).max() / 14, 0.5) + 1e-6
    )


@given(st.lists(st.integers(-7, 7), min_size=1, max_size=9))
@settings(max_examples=30, deadline=None)
def test_what_is_packed_is_read_back(weights):
    tensor = schema.schema.TensorT(
        type=schema.schema.TensorType.INT4, shape=np.array([len(weights)], np.int32)
    )
    packed = nibbles(np.array(weights, np.int8))
    assert packed.size == -(-len(weights) // 2)
    assert schema.values(packed, tensor).tolist() == weights


def test_kernels_on_the_grid_are_in_the_file_as_they_are():
    model = on_grid(
        model_of(
            (8, 8, 3),
            layers.Conv2D(6, 3, name="conv"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.Flatten(),
            layers.Dense(5, name="dense"),
        )
    )
    tflite = convert(model, task=task_of(model), target=Target.int4_weights())
    found = stored(tflite)
    assert [op.weight_bits for op in inspect(tflite).ops if op.kernels] == [4, 4, 4]
    conv = np.moveaxis(model.get_layer("conv").get_weights()[0], 3, 0)
    np.testing.assert_allclose(found["conv"], conv, rtol=1e-6)
    depthwise = np.moveaxis(model.get_layer("depthwise").get_weights()[0], 3, 0)
    np.testing.assert_allclose(found["depthwise"], depthwise.reshape(1, 3, 3, 6), rtol=1e-6)
    np.testing.assert_allclose(
        found["dense"], model.get_layer("dense").get_weights()[0].T, rtol=1e-6
    )


STACKS = {
    "conv": ((8, 8, 5), [layers.Conv2D(7, 3, padding="same", activation="relu")]),
    "pointwise": ((8, 8, 5), [layers.Conv2D(7, 1)]),
    "one channel": ((8, 8, 5), [layers.Conv2D(1, 3)]),
    "dilated": ((9, 9, 3), [layers.Conv2D(6, 3, dilation_rate=2)]),
    "grouped": ((8, 8, 4), [layers.Conv2D(8, 3, groups=2)]),
    "strided": ((9, 9, 3), [layers.Conv2D(6, 3, strides=2, padding="same")]),
    "depthwise": ((8, 8, 5), [layers.DepthwiseConv2D(3, padding="same")]),
    "multiplied": ((8, 8, 5), [layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2)]),
    "dense": ((9,), [layers.Dense(5)]),
    "no bias": ((64,), [layers.Dense(16, use_bias=False)]),
    "dense over steps": ((7, 9), [layers.Dense(5)]),
    "conv1d": ((12, 5), [layers.Conv1D(6, 3)]),
    "depthwise1d": ((12, 5), [layers.DepthwiseConv1D(3)]),
    "separable": ((8, 8, 3), [layers.SeparableConv2D(4, 3)]),
}


@pytest.mark.parametrize("name", STACKS)
def test_every_op_that_can_runs_on_4_bits(name):
    shape, stack = STACKS[name]
    model = on_grid(model_of(shape, *stack))
    task = task_of(model)
    tflite = convert(model, task=task, target=Target.int4_weights())
    found = inspect(tflite)
    assert {op.weight_bits for op in found.ops if op.kernels} == {4}
    assert found.integer_only
    x = task.representative_inputs(32)
    expected, step = model.predict(x, verbose=0), found.outputs[0].scales[0]
    rounding = step + 0.03 * np.abs(expected).max()  # of the inputs, to 8 bits
    for kernels in KERNELS:
        (outputs,) = TFLiteModel(tflite, kernels=kernels).predict(x)
        assert np.abs(outputs - expected).max() < rounding


def test_one_scale_for_all_channels_stays_one():
    model = model_of((6, 6, 3), layers.Conv2D(4, 3, name="conv"))
    task = task_of(model)
    unpacked = schema.unpack(convert(model, task=task, target=Target.int8()))
    graph = unpacked.subgraphs[0]
    for tensor in graph.tensors:
        if schema.is_constant(unpacked.buffers[tensor.buffer]):
            tensor.quantization.scale = tensor.quantization.scale[:1]
            tensor.quantization.zeroPoint = tensor.quantization.zeroPoint[:1]
    tflite = pack_weights(schema.pack(unpacked), keep=lambda op: False)
    (op,) = inspect(tflite).ops
    assert (op.weight_bits, len(op.kernels[0].scales)) == (4, 1)
    TFLiteModel(tflite, kernels="builtin").predict(task.representative_inputs(3))


def test_ops_without_a_kernel_for_them_keep_8_bits_and_are_listed():
    model = model_of(
        (6, 6, 3), layers.Conv2D(4, 3, name="conv"), layers.Conv2DTranspose(3, 2, name="up")
    )
    found = inspect(convert(model, task=task_of(model), target=Target.int4_weights()))
    assert {op.layer: op.weight_bits for op in found.ops if op.kernels} == {"conv": 4, "up": 8}
    assert "weights     4 bits in 1 op(s), 8 bits in 1 op(s):" in str(found)
    assert "- TRANSPOSE_CONV of layer 'up': no interpreter has a kernel of it for 4-bit" in str(
        found
    )
    assert [op["weight_bits"] for op in found.to_dict()["ops"] if op["layer"] == "conv"] == [4]


def test_weights_shared_by_calls_of_a_layer_are_stored_once():
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    model = on_grid(model_of((6, 6, 3), shared, layers.ReLU(), shared))
    task = task_of(model)
    tflite = convert(model, task=task, target=Target.int4_weights())
    found = inspect(tflite)
    assert [op.weight_bits for op in found.ops] == [4, 4]
    x = task.representative_inputs(32)
    expected = model.predict(x, verbose=0)
    (outputs,) = TFLiteModel(tflite).predict(x)
    assert np.abs(outputs - expected).max() < 0.05 * np.abs(expected).max()


def test_dead_channels_stay_dead():
    model = model_of((6, 6, 3), layers.Conv2D(4, 3, name="conv"))
    kernel, bias = model.get_weights()
    kernel[..., 2], bias[2] = 0, 0
    model.set_weights([kernel, bias])
    task = task_of(model)
    tflite = convert(model, task=task, target=Target.int4_weights())
    assert not stored(tflite)["conv"][2].any()
    (outputs,) = TFLiteModel(tflite).predict(task.representative_inputs(4))
    assert not outputs[..., 2].any()


def test_layers_can_keep_8_bits():
    model = model_of(
        (6, 6, 3), layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(3, name="out")
    )
    task = task_of(model)
    found = inspect(convert(model, task=task, target=Target.int4_weights(keep_int8=("out",))))
    assert {op.layer: op.weight_bits for op in found.ops if op.kernels} == {"conv": 4, "out": 8}
    assert "- FULLY_CONNECTED of layer 'out': kept, as was asked for" in str(found)
    with pytest.raises(SettingError, match="keep_int8 with 'oud'; expected 'out' is nearest"):
        convert(model, task=task, target=Target.int4_weights(keep_int8=("oud",)))
    with pytest.raises(SettingError, match="keep_int8 with 'input', which has no op in the file"):
        convert(model, task=task, target=Target.int4_weights(keep_int8=("input",)))


def test_the_weights_take_half_the_bytes_and_are_counted_unpacked():
    model = model_of((512,), layers.Dense(64, name="wide"), layers.Dense(2, name="out"))
    kernel = model.get_layer("wide").get_weights()[0]
    kernel[::2] = 0
    model.get_layer("wide").set_weights([kernel, np.zeros(64)])
    task = task_of(model)
    eight = inspect(convert(model, task=task, target=Target.int8()))
    four = inspect(convert(model, task=task, target=Target.int4_weights()))
    saved = (512 * 64 + 64 * 2) // 2
    assert abs(eight.bytes - four.bytes - saved) < 64
    assert four.unique_weights <= 15 < eight.unique_weights
    assert 0.5 <= four.sparsity < 0.7
    assert (four.macs, four.parameters) == (eight.macs, eight.parameters)


def test_the_same_model_gives_the_same_file():
    model = model_of((6, 6, 3), layers.Conv2D(4, 3, name="conv"))
    first, second = (
        convert(model, task=task_of(model), target=Target.int4_weights()) for _ in range(2)
    )
    assert first == second
