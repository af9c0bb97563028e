"""Preprocessing inside the model: raw pixels in, the same answers out."""

import numpy as np
import pytest

import tfopt
from tfopt.errors import FloatOpsError, ModelError, SettingError
from tfopt.keras_gate import tf_keras
from tfopt.tflite.interpreter import TFLiteModel

MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


@pytest.fixture(scope="module")
def pixels(digits):
    """The digits as bytes: inputs and labels of a split."""
    return lambda split: (np.rint(split.x * 255).astype(np.uint8), split.y)


@pytest.mark.parametrize(
    ("settings", "prepare"),
    [
        ({}, lambda x: x / 255),
        ({"scale": 1 / 127.5, "offset": -1.0}, lambda x: x / 127.5 - 1),
        ({"scale": 1.0, "mean": 120.0, "std": 60.0}, lambda x: (x - 120) / 60),
        ({"scale": (0.01,), "offset": 1, "mean": (3,), "std": 2}, lambda x: (x * 0.01 + 1 - 3) / 2),
    ],
)
def test_the_model_prepares_its_input_itself(cnn, images, settings, prepare):
    raw = np.rint(images * 255).astype(np.uint8)
    before = [weight.copy() for weight in cnn.get_weights()]
    inside = tfopt.with_preprocessing(cnn, **settings)
    expected = cnn.predict(prepare(raw.astype(np.float64)).astype(np.float32), verbose=0)
    np.testing.assert_allclose(inside.predict(raw, verbose=0), expected, atol=1e-5)
    assert inside.inputs[0].dtype == "uint8" and inside.input_names == cnn.input_names
    assert cnn.inputs[0].dtype == "float32" and "rescaling" not in str(cnn.get_config())
    for old, new in zip(before, cnn.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_each_channel_has_its_own_numbers():
    image = tf_keras.Input((4, 4, 3))
    model = tf_keras.Model(image, tf_keras.layers.Flatten()(image))
    inside = tfopt.with_preprocessing(model, scale=1.0, mean=MEAN, std=STD)
    raw = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    expected = ((raw - np.array(MEAN)) / STD).reshape(1, -1)
    np.testing.assert_allclose(inside.predict(raw, verbose=0), expected, rtol=1e-5)


@pytest.mark.parametrize("input_type", ["int8", pytest.param("uint8", marks=pytest.mark.slow)])
def test_the_integer_file_of_raw_pixels_answers_as_that_of_scaled_ones(
    cnn, digits, pixels, make_task, input_type
):
    """The factor goes into the first layer's weights, and a byte is the step it was.

    What is left is calibration's last digit: x / 255 * w and x * (w / 255) are not the same float.
    """
    raw, labels = pixels(digits.test)
    scaled = raw.astype(np.float32) / 255
    target = tfopt.Target.int8(refine=False, input_type=input_type)
    inside = tfopt.with_preprocessing(cnn)
    file = tfopt.convert(inside, task=make_task(raw, labels), target=target)
    other = tfopt.convert(cnn, task=make_task(scaled, labels), target=target)
    found = tfopt.inspect(file)
    assert found.integer_only
    assert [op.name for op in found.ops][:2] == ["QUANTIZE", "CONV_2D"]  # and nothing between
    tensor = found.inputs[0]
    assert (tensor.dtype, tensor.scales, tensor.zero_points) == ("uint8", (1.0,), (0,))
    answers = TFLiteModel(file, kernels="builtin").predict(raw)[0]
    others = TFLiteModel(other, kernels="builtin").predict(scaled)[0]
    np.testing.assert_array_equal(answers.argmax(axis=1), others.argmax(axis=1))
    assert np.mean(answers == others) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"scale": 1 / 127.5, "offset": -1.0}, {"scale": 1.0, "mean": 33.3, "std": 78.6}]
)
def test_an_offset_costs_two_integer_ops_and_no_accuracy(digits, pixels, settings):
    """Bytes do not fall on the steps of (pixel - 127.5): half a step can turn a near tie."""
    from tfopt.task import Task
    from tfopt.testing import small_cnn
    from tfopt.training import fine_tune

    splits = [pixels(split) for split in (digits.train, digits.validation, digits.test)]
    raw = Task.from_arrays(*splits, loss=digits.loss)
    tf_keras.utils.set_random_seed(0)
    model = tfopt.with_preprocessing(small_cnn(), **settings)
    fine_tune(model, raw, epochs=8, learning_rate=5e-3)
    file = tfopt.convert(model, task=raw, target=tfopt.Target.int8(refine=False))
    found = tfopt.inspect(file)
    assert found.integer_only
    assert [op.name for op in found.ops][:4] == ["QUANTIZE", "MUL", "ADD", "CONV_2D"]
    answers = TFLiteModel(file).predict(raw.test.x)[0].argmax(axis=1)
    expected = model.predict(raw.test.x, verbose=0).argmax(axis=1)
    assert np.mean(answers == expected) >= 0.99
    assert np.mean(answers == raw.test.y) >= 0.94


@pytest.mark.slow
def test_every_technique_works_on_raw_pixels(digits, pixels):
    from tfopt.task import Task
    from tfopt.testing import small_cnn
    from tfopt.training import fine_tune

    splits = [pixels(split) for split in (digits.train, digits.validation, digits.test)]
    raw = Task.from_arrays(*splits, loss=digits.loss)
    model = tfopt.with_preprocessing(small_cnn())
    fine_tune(model, raw, epochs=6, learning_rate=5e-3)
    steps = [
        tfopt.ChannelPruning(channels=0.2, epochs=2),
        tfopt.MagnitudePruning(epochs=2),
        tfopt.WeightClustering(epochs=2),
        tfopt.QuantizationAware(epochs=1),
    ]
    result = tfopt.optimize(model, steps, task=raw, target=tfopt.Target.int8())
    assert tfopt.inspect(result.tflite).integer_only
    assert tfopt.inspect(result.tflite).inputs[0].dtype == "uint8"
    assert result.report.steps[-1].test.value >= 0.85


@pytest.mark.parametrize(
    "calibration", ["percentile", pytest.param("moving_average", marks=pytest.mark.slow)]
)
def test_a_byte_stays_the_byte_it_is_however_ranges_are_found(cnn, calibration):
    raw = np.random.default_rng(0).normal(128, 40, (64, 8, 8, 1)).clip(3, 250).astype(np.uint8)
    target = tfopt.Target.int8(calibration=calibration, refine=False)
    inside = tfopt.with_preprocessing(cnn)
    file = tfopt.convert(inside, target=target, representative=raw)
    tensor = tfopt.inspect(file).inputs[0]
    assert (tensor.dtype, tensor.scales, tensor.zero_points) == ("uint8", (1.0,), (0,))
    found, expected = TFLiteModel(file).predict(raw)[0], inside.predict(raw, verbose=0)
    assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) > 0.9


def test_bytes_beside_real_inputs_are_refused_with_the_way_out():
    layers = tf_keras.layers
    image, size = tf_keras.Input((4,), dtype="uint8"), tf_keras.Input((4,))
    both = layers.Concatenate()([layers.Rescaling(1 / 255)(image), size])
    model = tf_keras.Model([image, size], layers.Dense(2)(both))
    samples = (np.arange(40, dtype=np.uint8).reshape(10, 4), np.eye(10, 4, dtype=np.float32))
    with pytest.raises(FloatOpsError, match=r"Target.int8\(input_type='uint8'\)"):
        tfopt.convert(model, target=tfopt.Target.int8(), representative=samples)
    target = tfopt.Target.int8(input_type="uint8")
    assert tfopt.inspect(tfopt.convert(model, target=target, representative=samples)).integer_only


def test_one_of_several_inputs_is_named():
    image, size = tf_keras.Input((4,), name="image"), tf_keras.Input((4,), name="size")
    model = tf_keras.Model([image, size], tf_keras.layers.Add()([image, size]))
    with pytest.raises(SettingError, match="name=None for a model with the inputs image, size"):
        tfopt.with_preprocessing(model)
    inside = tfopt.with_preprocessing(model, name="image", scale=2.0)
    assert [tensor.dtype.name for tensor in inside.inputs] == ["uint8", "float32"]
    given = [np.full((1, 4), 3, np.uint8), np.ones((1, 4), np.float32)]
    assert inside.predict(given, verbose=0).tolist() == [[7.0] * 4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0}, "scale=0; expected numbers other than 0"),
        ({"std": (1, 0, 1)}, r"std=\(1, 0, 1\); expected a finite number, or 1 of them"),
        ({"std": 0.0}, "numbers other than 0"),
        ({"mean": float("nan")}, "mean=nan; expected a finite number"),
        ({"mean": 127.5, "std": 127.5}, r"mean=127.5 with scale=0.0039.*Fix: pass scale=1.0"),
        ({"offset": "much"}, "offset='much'"),
        ({"name": "picture"}, "name='picture' for a model with the inputs image"),
    ],
)
def test_what_cannot_be_is_refused(cnn, settings, message):
    with pytest.raises(SettingError, match=message):
        tfopt.with_preprocessing(cnn, **settings)


def test_a_model_that_takes_bytes_stays_as_it_is(cnn):
    with pytest.raises(ModelError, match=r"Target.int8\(\) makes a file that takes its bytes"):
        tfopt.with_preprocessing(tfopt.with_preprocessing(cnn))
