"""Compact files: the same network, with fewer digits in its numbers."""

import dataclasses
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt
from tfopt.errors import SettingError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.testing import zoo
from tfopt.tflite import schema
from tfopt.tflite.compact import compact, shortened
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers
TARGETS = {
    "int8": Target.int8(refine=False),
    "int4_weights": Target.int4_weights(refine=False),
    "mixed": Target.int8(refine=False, keep_int16=("branch",)),
}
WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def net():
    """Every op with a bias; a layer that is called twice; ops that need equal scales."""
    image = layers.Input((12, 12, 1), name="image")
    x = layers.Conv2D(8, 3, activation="relu", name="stem")(image)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    shared = layers.Conv2D(8, 1, activation="relu", name="shared")
    x = layers.MaxPooling2D(2, name="pool")(shared(shared(x)))
    branch = layers.Conv2D(8, 1, name="branch")(x)
    x = layers.Concatenate(name="concatenate")([x, branch])
    x = layers.Conv2DTranspose(8, 2, name="transposed")(x)
    x = layers.Flatten(name="flatten")(x)
    model = tf_keras.Model(image, layers.Dense(10, activation="softmax", name="top")(x))
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0.05, 0.3, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def task():
    x = np.random.default_rng(1).normal(size=(200, 12, 12, 1)).astype(np.float32)
    y = np.zeros(200, np.int32)
    return tfopt.Task.from_arrays((x, y), (x, y), loss="sparse_categorical_crossentropy")


@pytest.fixture(scope="module")
def files(task):
    """The plain and the compact file of each target."""
    model = net()
    return {
        name: [
            tfopt.convert(model, task=task, target=dataclasses.replace(target, compact=short))
            for short in (False, True)
        ]
        for name, target in TARGETS.items()
    }


def deflated(content):
    return len(zlib.compress(content, 9))


def biased(content):
    """Input, kernel, bias and output of each op that has them, and the model they are of."""
    model = schema.unpack(content)
    graph = model.subgraphs[0]
    found = []
    for op in graph.operators:
        name = schema.op_name(model.operatorCodes[op.opcodeIndex])
        if name in WITH_BIAS:
            read, kernel, bias = (2, 1, 3) if name == "TRANSPOSE_CONV" else (0, 1, 2)
            places = [*(op.inputs[place] for place in (read, kernel, bias)), op.outputs[0]]
            found.append([graph.tensors[place] for place in places])
    assert found
    return model, found


def channels_of(model, kernel):
    """What a kernel's weights stand for, a row for each scale."""
    numbers = schema.values(model.buffers[kernel.buffer].data, kernel).astype(np.float64)
    scales = np.asarray(kernel.quantization.scale)[:, None]
    rows = np.moveaxis(numbers, schema.channel_axis(kernel), 0).reshape(len(scales), -1)
    return rows * scales


def stands_for_the_same(model, old, other, new):
    """Which channels of a kernel are on a grid; all weights are as they were, but for 0.8 %."""
    was, now = channels_of(model, old), channels_of(other, new)
    scales = [np.asarray(kernel.quantization.scale)[:, None] for kernel in (old, new)]
    on_grid = scales[1] > 1.5 * scales[0]
    assert (np.abs(now - was) <= 2**-7 * np.abs(was) + 0.501 * scales[0] * on_grid).all()
    return on_grid[:, 0]


@pytest.mark.parametrize("name", TARGETS)
def test_it_deflates_smaller_and_is_as_large(name, files):
    plain, short = files[name]
    assert deflated(short) < 0.98 * deflated(plain)
    assert len(short) < 1.01 * len(plain)
    before, after = tfopt.inspect(plain), tfopt.inspect(short)
    assert [op.name for op in after.ops] == [op.name for op in before.ops]
    assert after.sparsity == before.sparsity
    assert after.integer_only
    assert compact(short) == short  # twice is once


@pytest.mark.parametrize("kernels", ["default", "builtin", "reference"])
@pytest.mark.parametrize("name", TARGETS)
def test_outputs_differ_by_less_than_those_of_numerics(name, kernels, files, task):
    x = task.validation.first()[0][:32]
    plain, short = (TFLiteModel(file, kernels=kernels).predict(x)[0] for file in files[name])
    real = np.asarray(net()(x))
    assert np.abs(short - plain).max() < 0.1
    lost = [np.sqrt(np.mean((found - real) ** 2)) for found in (plain, short)]
    assert lost[1] < max(1.5 * lost[0], 0.005)


@pytest.mark.parametrize("name", TARGETS)
def test_a_bias_has_the_product_of_the_scales_and_loses_nothing_that_shows(name, files):
    plain, short = files[name]
    for (model, before), (other, after) in [(biased(plain), biased(short))]:
        for old, new in zip(before, after, strict=True):
            product = np.asarray(new[0].quantization.scale[0], np.float64) * np.asarray(
                new[1].quantization.scale, np.float64
            )
            np.testing.assert_array_equal(new[2].quantization.scale, product.astype(np.float32))
            reals = [
                schema.values(m.buffers[t.buffer].data, t) * np.asarray(t.quantization.scale)
                for m, t in ((model, old[2]), (other, new[2]))
            ]
            step = new[3].quantization.scale[0]
            assert np.abs(reals[0] - reals[1]).max() <= step / 8 * 1.001
            assert not stands_for_the_same(model, old[1], other, new[1]).any()


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_outputs_and_equal_scales_stay(name, files):
    before, after = (tfopt.inspect(file).tensors for file in files[name])
    pairs = [
        (old.scales[0], new.scales[0])
        for old, new in zip(before, after, strict=True)
        if old.scales and not old.constant
    ]
    assert pairs[0][0] == pairs[0][1]  # of the input
    for old, _ in pairs:
        assert len({new for other, new in pairs if other == old}) == 1
    plain, short = (TFLiteModel(file) for file in files[name])
    assert plain.inputs == short.inputs
    assert plain.outputs == short.outputs


def test_weights_on_a_grid_are_its_integers(task):
    model = net()
    kernel = model.get_layer("shared").kernel
    integers = np.random.default_rng(2).integers(-7, 8, kernel.shape)
    integers[0, 0, 0] = 7
    kernel.assign(integers * np.linspace(0.02, 0.09, 8))
    target = Target.int8(refine=False, compact=True)
    other, tensors = biased(tfopt.convert(model, task=task, target=target))
    stored = [schema.values(other.buffers[t[1].buffer].data, t[1]) for t in tensors]
    np.testing.assert_array_equal(stored[2], np.transpose(integers, (3, 0, 1, 2)))
    assert np.abs(stored[0]).max() == 127


def test_weights_on_a_grid_stand_for_the_same_beside_others(task):
    model = net()
    kernel = model.get_layer("shared").kernel
    integers = np.random.default_rng(2).integers(-7, 8, kernel.shape)
    integers[0, 0, 0] = 7
    on_grid = np.arange(8) < 4
    kernel.assign(np.where(on_grid, integers * np.linspace(0.02, 0.09, 8), kernel))
    plain = tfopt.convert(model, task=task, target=Target.int8(refine=False))
    (before, old), (after, new) = biased(plain), biased(compact(plain))
    found = stands_for_the_same(before, old[2][1], after, new[2][1])
    np.testing.assert_array_equal(found, on_grid)


@pytest.mark.parametrize(
    "name",
    [
        *("text_lstm", "gru", "text_transformer", "squeeze_and_excite", "unet_transposed"),
        *("embedding_pooling", "group_normalization", "merges_of_every_kind", "conv3d"),
    ],
)
def test_typical_models_compute_the_same(name):
    entry = next(entry for entry in zoo.MODELS if entry.name == name)
    model = entry.build(tf_keras)
    task = entry.task(model)
    x = task.validation.first()[0]
    plain = tfopt.convert(model, task=task, target=Target.int8(refine=False))
    short = compact(plain)
    assert deflated(short) < deflated(plain)
    for found, other in zip(
        TFLiteModel(plain).predict(x), TFLiteModel(short).predict(x), strict=True
    ):
        noise = np.sqrt(np.mean((found - other) ** 2)) / max(np.std(found), 1e-6)
        assert noise < 0.1


@pytest.mark.parametrize("name", ["simple_rnn", "conv_lstm", "gru"])
def test_the_steps_of_an_unrolled_layer_keep_one_bias(name):
    entry = next(entry for entry in zoo.MODELS if entry.name == name)
    model = entry.build(tf_keras)
    plain = tfopt.convert(model, task=entry.task(model), target=Target.int8(refine=False))
    short = compact(plain)
    assert len(short) < len(plain)
    files = [schema.unpack(content) for content in (plain, short)]
    assert len(files[1].buffers) <= len(files[0].buffers)
    kept = [schema.stored(buffer) for buffer in files[1].buffers]
    equal = [data.tobytes() for data in kept if data is not None]
    assert len(equal) == len(set(equal))


@given(
    scales=st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=20),
    bits=st.integers(2, 12),
    up=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_few_bits_are_near(scales, bits, up):
    found = shortened(np.array(scales), bits, up=up)
    ratio = found / scales
    assert np.abs(ratio - 1).max() <= 2.0 ** (1 - bits) * (1 if up else 0.5) * 1.0001
    assert not up or ratio.min() >= 1
    mantissas = np.frexp(found)[0] * 2**bits
    np.testing.assert_array_equal(mantissas, np.rint(mantissas))


@pytest.mark.parametrize("numerics", ["float32", "float16", "dynamic_range", "int16x8"])
def test_other_numerics_are_refused(numerics):
    with pytest.raises(SettingError, match=r"compact=True.*int8 or int4_weights"):
        getattr(Target, numerics)(compact=True)


@pytest.mark.parametrize("target", [Target.int8(refine=False, compact=True), Target.int4_weights()])
def test_the_bias_of_a_channel_that_is_nearly_dead_keeps_its_sign(target):
    tf_keras.utils.set_random_seed(0)
    inputs = layers.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    x = layers.Conv2D(6, 1, use_bias=False)(x)
    model = tf_keras.Model(inputs, layers.BatchNormalization(name="bn")(x))
    norm = model.get_layer("bn")
    gamma = np.array([1e-7, 1, 1, 1, 1, 1], np.float32)  # what decay leaves of it
    norm.set_weights([gamma, np.ones(6, np.float32), *norm.get_weights()[2:]])
    data = np.random.default_rng(0).normal(size=(32, 8, 8, 4)).astype(np.float32)
    tflite = tfopt.convert(model, representative=data, target=target)
    found = TFLiteModel(tflite).predict(data)[0]
    np.testing.assert_allclose(found[..., 0], 1.0, atol=0.1)
