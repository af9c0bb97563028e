"""Interpreters and kernels give the same of a file, of every target and exporter.

Measured bounds, in steps of the output: the reference kernels differ from the built-in ones by one
or two, XNNPACK by a few; LiteRT's and TensorFlow's interpreters have the same kernels, but that
TensorFlow's has none from 8 to 16 bits.
"""

import importlib

import numpy as np
import pytest

from tfopt.errors import InterpreterError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.task import Task
from tfopt.tflite import interpreter
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers
TARGETS = {
    "float32": Target.float32(),
    "float16": Target.float16(),
    "dynamic range": Target.dynamic_range(),
    "int8": Target.int8(),
    "int16x8": Target.int16x8(),
    "4-bit weights": Target.int4_weights(),
    "mixed": Target.int8(keep_int16=("add", "pool", "logits")),
    "mixed weights": Target.int4_weights(keep_int8=("stem",), keep_int16=("logits",)),
    "compact": Target.int8(compact=True),
    "compact 4-bit weights": Target.int4_weights(compact=True),
    "LiteRT int8": Target.int8(exporter="litert"),
    "LiteRT 4-bit weights": Target.int4_weights(exporter="litert"),
}
# Largest difference from the built-in kernels, in steps of an integer output or parts of the
# largest float one; a hybrid op quantizes its activations otherwise in each kind of kernels.
XNNPACK = {"float": 1e-5, "hybrid": 0.03, "integer": 7}
REFERENCE = {"float": 1e-5, "hybrid": 0.03, "integer": 2}


@pytest.fixture(scope="module")
def net():
    image = layers.Input((12, 12, 3), name="image")
    stem = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="depthwise")(stem)
    x = layers.Conv2D(8, 1, name="pointwise")(x)
    x = layers.Add(name="add")([x, stem])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = tf_keras.Model(image, layers.Dense(10, name="logits")(x))
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0.05, 0.3, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def task():
    x = np.random.default_rng(1).normal(size=(200, 12, 12, 3)).astype(np.float32)
    y = np.zeros((200, 10), np.float32)
    return Task.from_arrays((x, y), (x, y), loss="mse", metric=lambda labels, outputs: 0.0)


@pytest.fixture(scope="module", params=TARGETS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def tflite(name, net, task):
    if TARGETS[name].exporter == "litert":
        pytest.importorskip("litert_quantizer")
    return convert(net, task=task, target=TARGETS[name])


def kind(name):
    if TARGETS[name].integer_only:
        return "integer"
    return "hybrid" if name == "dynamic range" else "float"


def difference(tflite, ours, others):
    """In steps of the output, or in parts of its largest value."""
    scales = inspect(tflite).outputs[0].scales
    worst = float(np.abs(ours - others).max())
    return float(np.rint(worst / scales[0])) if scales else worst / float(np.abs(ours).max())


def outputs(tflite, task, kernels):
    return TFLiteModel(tflite, kernels=kernels).predict(task.representative_inputs(200))[0]


def test_kernels_agree(name, tflite, task):
    builtin = outputs(tflite, task, "builtin")
    wide = 1 + (TARGETS[name].numerics == "int16x8") * 8  # of 65,536 steps
    for kernels, bounds in (("default", XNNPACK), ("reference", REFERENCE)):
        found = difference(tflite, builtin, outputs(tflite, task, kernels))
        assert found <= bounds[kind(name)] * wide + 1e-6, kernels


@pytest.mark.parametrize("kernels", ["default", "builtin"])
def test_litert_and_tensorflow_agree(name, tflite, task, kernels, monkeypatch):
    litert = outputs(tflite, task, kernels)
    of_tensorflow = importlib.import_module("tensorflow.lite.python.interpreter")
    monkeypatch.setattr(interpreter, "interpreter_module", lambda: of_tensorflow)
    if TARGETS[name].keep_int16:
        with pytest.raises(InterpreterError, match=r"quantize\.cc.*\(QUANTIZE\) failed to prepare"):
            outputs(tflite, task, kernels)
        return
    found = difference(tflite, litert, outputs(tflite, task, kernels))
    exact = kernels == "builtin" and kind(name) == "integer"
    assert found <= (0 if exact else XNNPACK[kind(name)])
