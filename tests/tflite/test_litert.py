"""The LiteRT Quantizer as exporter: the same targets, names, types and proof."""

import dataclasses
import sys

import numpy as np
import pytest

from tfopt.errors import ConversionError, FloatOpsError, MissingPackageError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.task import Task
from tfopt.tflite import litert
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel

pytest.importorskip("litert_quantizer")
layers = tf_keras.layers
TARGETS = [
    Target.int8(),
    Target.int8(input_type="uint8", output_type="uint8"),
    Target.int8(input_type="float32", output_type="float32"),
    Target.int8(calibration="percentile"),
    Target.int16x8(),
    Target.int16x8(input_type="float32", output_type="float32"),
    Target.int4_weights(),
    Target.dynamic_range(),
    Target.float16(),
    Target.float32(),
]


def task_of(model, count=32):
    generator = np.random.default_rng(1)
    inputs = [generator.normal(size=(count, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    x = inputs[0] if len(inputs) == 1 else dict(zip(model.input_names, inputs, strict=True))
    y = tuple(np.zeros((count, *t.shape[1:]), np.float32) for t in model.outputs)
    y = y[0] if len(y) == 1 else y
    return Task.from_arrays((x, y), (x, y), loss="mse", metric=lambda labels, outputs: 0.0)


def with_weights(model):
    generator = np.random.default_rng(0)
    for variable in model.weights:
        values = generator.normal(scale=0.4, size=variable.shape)
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.name else values)
    return model


@pytest.fixture(scope="module")
def net():
    image = layers.Input((8, 8, 2), name="image")
    stem = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(image)
    stem = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(stem))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="depthwise")(stem)
    x = layers.Concatenate(name="join")([layers.Add(name="add")([x, stem]), stem])
    x = layers.Conv2DTranspose(3, 2, strides=2, name="up")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(3, activation="softmax", name="probabilities")(x)
    return with_weights(tf_keras.Model(image, x, name="net"))


@pytest.fixture(scope="module")
def task(net):
    return task_of(net)


@pytest.mark.parametrize(
    "target", TARGETS, ids=lambda t: f"{t.numerics}-{t.input_type}-{t.calibration}"
)
def test_every_target(net, task, target, capfd):
    tflite = convert(net, task=task, target=dataclasses.replace(target, exporter="litert"))
    assert capfd.readouterr() == ("", "")
    found, plain = inspect(tflite), inspect(convert(net, task=task, target=target))
    for ours, others in ((found.inputs, plain.inputs), (found.outputs, plain.outputs)):
        assert [(t.name, t.dtype, t.shape) for t in ours] == [
            (t.name, t.dtype, t.shape) for t in others
        ]
    assert found.signatures == plain.signatures
    assert found.integer_only == target.integer_only
    assert [op.layer for op in found.ops if op.kernels] == [
        op.layer for op in plain.ops if op.kernels
    ]
    x = task.representative_inputs(32)
    expected = net.predict(x, verbose=0)
    bound = {"int4_weights": 0.3, "int8": 0.05, "dynamic_range": 0.05}.get(target.numerics, 0.01)
    for kernels in ("default", "builtin"):
        assert np.abs(TFLiteModel(tflite, kernels=kernels).predict(x)[0] - expected).max() < bound


def test_the_same_ranges_as_with_tensorflows_converter(net, task):
    by_layer = []
    for exporter in ("tflite", "litert"):
        found = inspect(convert(net, task=task, target=Target.int8(exporter=exporter)))
        by_layer.append(
            {op.layer: op.outputs[0].scales for op in found.ops if op.outputs[0].scales}
        )
    for layer in ("add", "up", "pool", "probabilities"):
        np.testing.assert_allclose(by_layer[0][layer], by_layer[1][layer], rtol=1e-3)


def test_the_same_model_gives_the_same_file(net, task):
    target = Target.int8(exporter="litert")
    assert convert(net, task=task, target=target) == convert(net, task=task, target=target)


def test_several_inputs_and_outputs_keep_the_models_order():
    left, right = layers.Input((4,), name="z_left"), layers.Input((5,), name="a_right")
    x = layers.Concatenate(name="both")([left, right])
    outputs = [layers.Dense(2, name="z_out")(x), layers.Dense(3, name="a_out")(x)]
    model = with_weights(tf_keras.Model([left, right], outputs))
    task = task_of(model)
    tflite = convert(model, task=task, target=Target.int8(exporter="litert"))
    (signature,) = inspect(tflite).signatures
    assert (signature.inputs, signature.outputs) == (("z_left", "a_right"), ("z_out", "a_out"))
    x = task.representative_inputs(8)
    for got, want in zip(TFLiteModel(tflite).predict(x), model.predict(x, verbose=0), strict=True):
        assert np.abs(got - want).max() < 0.05 * np.abs(want).max()


@pytest.mark.parametrize("numerics", ["int8", "int16x8"])
def test_layers_can_stay_in_floating_point(net, task, numerics):
    target = getattr(Target, numerics)(exporter="litert", keep_float=("depthwise",))
    found = inspect(convert(net, task=task, target=target))
    computing = [op for op in found.float_ops if op.name not in ("QUANTIZE", "DEQUANTIZE")]
    assert [op.layer for op in computing] == ["depthwise"]


def test_what_it_leaves_in_floating_point_is_refused_and_named():
    inputs = layers.Input((8, 8, 2), name="x")
    x = layers.LeakyReLU(name="leaky")(layers.Conv2D(4, 3, name="conv")(inputs))
    model = with_weights(tf_keras.Model(inputs, layers.Conv2D(2, 3, name="last")(x)))
    expected = "LEAKY_RELU of layer 'leaky'.*Fix: use exporter='tflite', replace layer 'leaky'"
    with pytest.raises(FloatOpsError, match=expected):
        convert(model, task=task_of(model), target=Target.int8(exporter="litert"))


def test_its_failures_are_named(net, task, monkeypatch):
    float_file = convert(net, task=task, target=Target.float32())
    monkeypatch.setattr(litert, "_ranges", lambda *_: {"image": (0.0, 1.0)})
    with pytest.raises(
        ConversionError, match=r"LiteRT Quantizer fails .*Fix: use exporter='tflite'"
    ):
        litert.quantized(float_file, Target.int8(exporter="litert"), (), {})


def test_the_package_is_asked_for_by_name(net, task, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_quantizer", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'tfopt\[litert\]'"):
        convert(net, task=task, target=Target.int8(exporter="litert"))
