"""Layers that stay in floating point in an integer file."""

import numpy as np
import pytest

from tfopt.errors import FloatOpsError, SettingError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.task import Task
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.testing.models import residual_net, small_cnn
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers


@pytest.fixture(scope="module")
def images():
    return Task.digits().representative_inputs(48)


@pytest.fixture(scope="module")
def model():
    tf_keras.utils.set_random_seed(0)
    return residual_net()


def float_layers(tflite):
    conversions = ("QUANTIZE", "DEQUANTIZE")
    return {op.layer for op in inspect(tflite).float_ops if op.name not in conversions}


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        (("stem_conv",), {"stem_conv"}),
        (("second_conv",), {"second_conv"}),
        (("first_conv", "second_conv"), {"first_conv", "second_conv"}),
        (("probabilities",), {"probabilities"}),
        (("first_relu",), {"first_conv"}),  # fused into the convolution's op
        (("add",), {"add"}),
    ],
    ids=lambda value: "+".join(sorted(value)),
)
def test_exactly_the_layers_named_are_float(model, images, kept, found):
    names = {layer.name for layer in model.layers}
    kept = tuple(name for name in kept if name in names)
    tflite = convert(model, representative=images, target=Target.int8(keep_float=kept))
    assert float_layers(tflite) == found
    inspection = inspect(tflite)
    assert inspection.inputs[0].dtype == inspection.outputs[0].dtype == "int8"
    (outputs,) = TFLiteModel(tflite).predict(images)
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), atol=0.1)


def test_all_layers_in_float_are_the_float_model_but_for_its_ends(model, images):
    kept = ("stem_conv", "first_conv", "second_conv", "add", "pool", "probabilities")
    target = Target.int8(keep_float=kept, input_type="float32", output_type="float32")
    tflite = convert(model, representative=images, target=target)
    assert not [op for op in inspect(tflite).ops if op.name == "CONV_2D" and op.dtypes == "int8"]


def test_other_float_ops_are_still_refused(images):
    image = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.Lambda(lambda x: __import__("tensorflow").atan2(x, x + 2.0), name="angle")(x)
    model = tf_keras.Model(image, layers.Conv2D(2, 3, name="last")(x))
    with pytest.raises(FloatOpsError, match="layer 'angle'") as caught:
        convert(model, representative=images, target=Target.int8(keep_float=("last",)))
    assert "last" not in caught.value.fix
    tflite = convert(model, representative=images, target=Target.int8(keep_float=("last", "angle")))
    assert "last" in float_layers(tflite)


def test_layers_of_a_quantization_aware_model_are_refused(images):
    tf_keras.utils.set_random_seed(0)
    aware = QuantizationAware(epochs=0.1).apply(small_cnn(), Task.digits())
    target = Target.int8(keep_float=("block_conv",))
    with pytest.raises(SettingError, match="'block_conv', whose ops the converter makes integer"):
        convert(aware, representative=images, target=target)


def test_with_a_method_of_calibration(model, images):
    target = Target.int8(keep_float=("first_conv",), calibration="mse")
    assert float_layers(convert(model, representative=images, target=target)) == {"first_conv"}


def test_unknown_names_are_refused_with_the_nearest(model, images):
    with pytest.raises(SettingError, match=r"'frist_conv'; expected 'first_conv' is nearest"):
        convert(model, representative=images, target=Target.int8(keep_float=("frist_conv",)))
    with pytest.raises(SettingError, match="'image', which has no op in the file"):
        convert(model, representative=images, target=Target.int8(keep_float=("image",)))


def test_sixteen_bits_keep_nothing_in_float(model, images):
    message = r"numerics='int16x8'; expected exporter='litert'.*use Target.int16x8\(exporter="
    with pytest.raises(SettingError, match=message):
        convert(model, representative=images, target=Target.int16x8(keep_float=("first_conv",)))
