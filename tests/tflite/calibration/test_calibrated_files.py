"""Files calibrated by each method: the same as the converter's own, or as the method says."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from tfopt.data import DataWarning
from tfopt.errors import ConversionError, DataError
from tfopt.keras_gate import tf_keras
from tfopt.measure.calibration import activation_ranges
from tfopt.target import Calibration, Target
from tfopt.task import Task
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.testing.models import depthwise_net, residual_net, small_cnn
from tfopt.tflite import converter, tracing
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel

METHODS = get_args(Calibration)
layers = tf_keras.layers


@pytest.fixture(scope="module")
def task():
    return Task.digits()


@pytest.fixture(scope="module")
def images(task):
    return task.representative_inputs(64)


def two_inputs():
    image, age = layers.Input((8, 8, 1), name="image"), layers.Input((1,), name="age")
    x = layers.Flatten()(layers.Conv2D(3, 3, activation="swish", name="conv")(image))
    x = layers.Concatenate(name="both")([x, layers.Dense(4, name="wide")(age)])
    return tf_keras.Model([image, age], layers.Dense(2, activation="tanh", name="top")(x))


@pytest.fixture(scope="module", params=[small_cnn, depthwise_net, residual_net, two_inputs])
def model(request):
    tf_keras.utils.set_random_seed(0)
    return request.param()


def samples_of(model, images):
    ages = np.linspace(-2, 5, len(images), dtype=np.float32)[:, None]
    return [images, ages][: len(model.inputs)]


def stock(traced, samples, numerics):
    """What TensorFlow's converter alone makes."""
    ops = tf.lite.OpsSet
    own = tf.lite.TFLiteConverter.from_concrete_functions([traced.function])
    own.exclude_conversion_metadata = True
    own.optimizations = [tf.lite.Optimize.DEFAULT]
    own.inference_input_type = own.inference_output_type = tf.int8
    own.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8]
    if numerics == "int16x8":
        own.inference_input_type = own.inference_output_type = tf.int16
        wide = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        own.target_spec.supported_ops = [wide, ops.TFLITE_BUILTINS]
    own.representative_dataset = lambda: (
        [array[i : i + 1] for array in samples] for i in range(len(samples[0]))
    )
    return own.convert()


@pytest.mark.parametrize("target", [Target.int8(), Target.int16x8()], ids=lambda t: t.numerics)
def test_min_max_is_the_converters_own_to_the_byte_but_before_sums(model, images, target):
    traced = tracing.trace(model, batch=None, lstm_ops=False, fake_quantized=True)
    samples = samples_of(model, images)
    same = converter.run(traced, target, samples) == stock(traced, samples, target.numerics)
    has_sum = any(isinstance(layer, layers.Add) for layer in model.layers)
    assert same is not has_sum  # test_extremes.py: what it adds up has the sum's range there


@pytest.mark.parametrize(
    ("numerics", "method"),
    [*(("int8", method) for method in METHODS[1:]), ("int16x8", "mse")],
)
def test_every_method_makes_a_file_near_the_float_model(model, images, numerics, method):
    inputs = samples_of(model, images)
    target = Target(
        numerics=numerics, calibration=method, input_type="float32", output_type="float32"
    )
    tflite = convert(model, representative=tuple(inputs), target=target)
    assert inspect(tflite).integer_only
    (found,) = TFLiteModel(tflite).predict(tuple(inputs))
    want = model.predict(inputs, verbose=0)
    # few samples of an untrained net: the mean of their extremes is far from the extremes
    tolerance = 0.2 if method == "moving_average" else 0.08
    assert np.abs(found - want).mean() < tolerance * np.abs(want).max()


def test_methods_are_deterministic_and_differ(images):
    tf_keras.utils.set_random_seed(0)
    model = residual_net()
    traced = tracing.trace(model, batch=None, lstm_ops=False, fake_quantized=True)
    files = [
        converter.run(traced, Target.int8(calibration=method), [images])
        for method in (*METHODS, *METHODS)
    ]
    assert files[: len(METHODS)] == files[len(METHODS) :]
    assert len(set(files)) == len(METHODS)


def test_ranges_are_within_the_extremes_and_fixed_ones_stay(images):
    tf_keras.utils.set_random_seed(0)
    model = small_cnn()
    whole = activation_ranges(convert(model, representative=images, target=Target.int8()))
    for method in METHODS[1:]:
        target = Target.int8(calibration=method)
        found = activation_ranges(convert(model, representative=images, target=target))
        assert found["probabilities"] == whole["probabilities"]
        for name, (low, high) in found.items():
            step = (whole[name][1] - whole[name][0]) / 255
            assert whole[name][0] - 2 * step <= low and high <= whole[name][1] + 2 * step


@pytest.mark.parametrize("method", ["mse"])
def test_ranges_of_a_quantization_aware_model_stay(task, method):
    tf_keras.utils.set_random_seed(0)
    aware = QuantizationAware(epochs=0.1).apply(small_cnn(), task)
    whole = convert(aware, task=task, target=Target.int8())
    assert convert(aware, task=task, target=Target.int8(calibration=method)) == whole


@pytest.mark.parametrize("method", ["moving_average", "entropy"])
def test_recurrent_models_are_calibrated(method):
    tf_keras.utils.set_random_seed(0)
    sequence = layers.Input((6, 3), name="sequence")
    x = layers.LSTM(4, name="lstm")(layers.Dense(5, activation="relu", name="before")(sequence))
    model = tf_keras.Model(sequence, layers.Dense(2, name="top")(x))
    inputs = np.random.default_rng(0).normal(size=(32, 6, 3)).astype(np.float32)
    tflite = convert(model, representative=inputs, target=Target.int8(calibration=method))
    assert inspect(tflite).integer_only
    (found,) = TFLiteModel(tflite).predict(inputs)
    want = model.predict(inputs, verbose=0)
    assert np.abs(found - want).mean() < 0.15 * np.abs(want).max()


def test_an_outlier_stretches_min_max_alone(task):
    tf_keras.utils.set_random_seed(0)
    model = small_cnn()
    images = task.representative_inputs(256).copy()
    images[0, 0, 0, 0] = 100
    high = {
        method: activation_ranges(
            convert(model, representative=images, target=Target.int8(calibration=method))
        )["image"][1]
        for method in METHODS
    }
    assert high["min_max"] == pytest.approx(100, abs=0.5)
    assert high["percentile"] < 2
    assert high["mse"] < 100 and high["entropy"] < 100 and high["moving_average"] < 10


@pytest.mark.parametrize("method", METHODS)
def test_a_single_sample_and_dead_channels(images, method):
    tf_keras.utils.set_random_seed(0)
    model = small_cnn()
    norm = model.get_layer("block_bn")
    norm.beta.assign(np.full(norm.beta.shape, -1e3))  # all of its ReLU's outputs are zero
    target = Target.int8(calibration=method)
    with pytest.warns(DataWarning, match="A single representative sample gave all activation ran"):
        tflite = convert(model, representative=images[:1], target=target)
    (found,) = TFLiteModel(tflite).predict(images)
    np.testing.assert_allclose(found, model.predict(images, verbose=0), atol=0.02)


@pytest.mark.parametrize("method", ["min_max", "entropy"])
def test_what_overflows_is_refused_by_name(images, method):
    target = Target.int8(calibration=method)
    model = small_cnn()
    model.get_layer("stem_bn").gamma.assign(np.full(8, 1e38))
    with pytest.raises(ConversionError, match=r"a range of .* at '.*' on the representative"):
        convert(model, representative=images, target=target)
    model = small_cnn()
    kernel = model.get_layer("probabilities").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(ConversionError, match=r"NaN in the weights of layer 'probabilities' \(ker"):
        convert(model, representative=images, target=target)


@pytest.mark.parametrize("weight", ["gamma", "moving_variance"])
def test_a_batch_norm_that_is_no_number_is_refused_by_its_own_name(images, weight):
    model = small_cnn()
    variable = getattr(model.get_layer("block_bn"), weight)
    variable.assign(np.full(variable.shape, np.nan))
    with pytest.raises(ConversionError, match=rf"NaN .* of layer 'block_bn' \({weight}\)"):
        convert(model, representative=images, target=Target.int8())


def test_samples_that_are_all_the_same_are_told(images):
    with pytest.warns(DataWarning, match="5 equal samples gave all activation ranges"):
        convert(small_cnn(), representative=np.repeat(images[:1], 5, 0), target=Target.int8())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.full((4, 8, 8, 1), np.nan), "NaN or infinity in 4 of 4 samples of the representative"),
        (np.zeros((4, 8, 8, 1)), "representative samples that are all 0 for input 'image'"),
        (np.zeros((4, 8, 1)), r"samples of shape \(8, 1\) for 'image'"),
        (np.zeros((0, 8, 8, 1)), "at least one sample"),
    ],
)
def test_samples_that_tell_nothing_are_refused(inputs, message):
    with pytest.raises(DataError, match=message):
        convert(small_cnn(), representative=inputs, target=Target.int8())


def test_the_choice_of_samples_reaches_the_file(task):
    tf_keras.utils.set_random_seed(0)
    model = small_cnn()
    target = Target.int8(representative_samples=10)
    files = {
        choice: convert(
            model, task=task, target=dataclasses.replace(target, representative_choice=choice)
        )
        for choice in ("random", "balanced", "spread")
    }
    assert len(set(files.values())) == 3
