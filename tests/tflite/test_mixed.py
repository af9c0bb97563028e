"""Layers with 16-bit activations in an 8-bit file: spliced in, proven, and of use."""

import numpy as np
import pytest

from tfopt.errors import ConversionError, SettingError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.task import Task
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.tflite import mixed, schema
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers
KERNELS = ("default", "builtin", "reference")
FLOAT_ENDS = {"input_type": "float32", "output_type": "float32"}


@pytest.fixture(scope="module")
def net():
    """Branches that meet, a layer called twice, and ops that must keep the scale of their input."""
    image = layers.Input((8, 8, 3), name="image")
    stem = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(image)
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    first = shared(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(stem))
    x = layers.Add(name="add")([stem, shared(first)])
    x = layers.Concatenate(name="join")([x, first])
    x = layers.MaxPooling2D(name="shrink")(x)
    x = layers.Conv2DTranspose(4, 2, strides=2, name="grow")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Activation("sigmoid", name="squash")(x))
    model = tf_keras.Model(image, layers.Dense(5, activation="softmax", name="out")(x))
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0.0, 0.5, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def task(net):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(48, 8, 8, 3)).astype(np.float32)
    y = np.zeros((48, 5), np.float32)
    return Task.from_arrays((x, y), (x, y), loss="mse", metric=lambda labels, outputs: 0.0)


def errors(net, task, tflite):
    """The root mean square error against Keras, with each kind of kernels."""
    x = task.representative_inputs(48)
    expected = net.predict(x, verbose=0)
    return [
        float(
            np.sqrt(np.mean((TFLiteModel(tflite, kernels=kernels).predict(x)[0] - expected) ** 2))
        )
        for kernels in KERNELS
    ]


@pytest.fixture(scope="module")
def plain(net, task):
    return convert(net, task=task, target=Target.int8())


KEPT = [("shared",), ("join", "shrink"), ("pool", "out"), ("depthwise", "grow")]


@pytest.mark.parametrize(
    ("kept", "exporter"), [*((kept, "tflite") for kept in KEPT), (("shared", "add"), "litert")]
)
def test_some_layers_have_16_bits(net, task, plain, kept, exporter):
    tflite = convert(net, task=task, target=Target.int8(keep_int16=kept, exporter=exporter))
    found = inspect(tflite)
    assert found.integer_only
    assert [tensor.dtype for tensor in (*found.inputs, *found.outputs)] == ["int8", "int8"]
    wide = {
        op.layer
        for op in found.ops
        if op.name != "QUANTIZE" and "int16" in (t.dtype for t in (*op.inputs, *op.outputs))
    }
    assert wide == set(kept)
    pairs = zip(errors(net, task, tflite), errors(net, task, plain), strict=True)
    assert all(with_it < 1.2 * without + 1e-4 for with_it, without in pairs)


def test_all_layers_with_16_bits_are_an_int16x8_file(net, task):
    names = (
        "stem",
        "depthwise",
        "shared",
        "add",
        "join",
        "shrink",
        "grow",
        "squash",
        "pool",
        "out",
    )
    x = task.representative_inputs(48)
    spliced = convert(net, task=task, target=Target.int8(keep_int16=names, **FLOAT_ENDS))
    whole = convert(net, task=task, target=Target.int16x8(**FLOAT_ENDS))
    assert "int8" not in {
        tensor.dtype for tensor in inspect(spliced).tensors if not tensor.constant
    }
    np.testing.assert_array_equal(TFLiteModel(spliced).predict(x), TFLiteModel(whole).predict(x))


def test_16_bits_up_to_a_real_output_are_finer(net, task):
    plain = convert(net, task=task, target=Target.int8(**FLOAT_ENDS))
    finer = convert(
        net, task=task, target=Target.int8(keep_int16=("squash", "pool", "out"), **FLOAT_ENDS)
    )
    assert inspect(finer).ops[-1].dtypes == "int16 to float32"
    assert max(errors(net, task, finer)) < 0.7 * min(errors(net, task, plain))


def test_with_4_bit_weights(net, task):
    target = Target.int4_weights(keep_int16=("pool", "out"), keep_int8=("stem",))
    found = inspect(convert(net, task=task, target=target))
    bits = {op.layer: op.weight_bits for op in found.ops if op.kernels}
    assert bits == {"stem": 8, "depthwise": 4, "shared": 4, "grow": 8, "out": 8}
    assert "of layer 'out': its activations are int16, and must be int8" in str(found)


def test_no_tensor_is_left_over(net, task):
    found = inspect(convert(net, task=task, target=Target.int8(keep_int16=("shared", "out"))))
    used = {t.index for op in found.ops for t in (*op.inputs, *op.outputs)}
    assert used == {tensor.index for tensor in found.tensors}


def test_the_batch_stays_open(net, task):
    tflite = convert(net, task=task, target=Target.int8(keep_int16=("shared",)))
    model = TFLiteModel(tflite, kernels="builtin")
    x = task.representative_inputs(48)
    model.learn_batch(x)
    assert inspect(tflite).inputs[0].shape == (-1, 8, 8, 3)
    alone = np.concatenate(
        [TFLiteModel(tflite, kernels="builtin").predict(x[i : i + 1])[0] for i in range(4)]
    )
    np.testing.assert_array_equal(model.predict(x)[0][:4], alone)


def test_layers_that_are_not_there_are_refused(net, task):
    with pytest.raises(SettingError, match="keep_int16 with 'shard'; expected 'shared' is nearest"):
        convert(net, task=task, target=Target.int8(keep_int16=("shard",)))
    with pytest.raises(SettingError, match="keep_int16 with 'image', which has no op in the file"):
        convert(net, task=task, target=Target.int8(keep_int16=("image",)))


def test_ops_without_16_bit_kernels_are_refused(plain):
    """As if the conversion to 16-bit activations had left the op as it was, or made others."""
    for layer, wide in (("add", plain), ("stem", _without_first_op(plain))):
        with pytest.raises(ConversionError, match=f"take layer '{layer}' out of keep_int16"):
            mixed.spliced(plain, wide, chosen=lambda op, layer=layer: op.layer == layer)


def _without_first_op(tflite):
    model = schema.unpack(tflite)
    graph = model.subgraphs[0]
    graph.inputs = graph.operators.pop(0).outputs
    return schema.pack(model)


def test_layers_of_a_model_trained_for_8_bits_can_have_16(net, task):
    aware = QuantizationAware(epochs=1, learning_rate=1e-4).apply(net, task)
    tflite = convert(aware, task=task, target=Target.int8(keep_int16=("shrink", "grow", "out")))
    found = inspect(tflite)
    assert found.integer_only
    wide = {op.name for op in found.ops if op.outputs[0].dtype == "int16"}
    assert {"TRANSPOSE_CONV", "FULLY_CONNECTED"} <= wide
    assert max(errors(aware, task, tflite)) < 0.05
