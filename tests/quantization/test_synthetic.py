"""Inputs made of batch-norm statistics, and the files calibrated with them."""

import re

import numpy as np
import pytest

from tfopt.errors import ModelError, SettingError
from tfopt.keras_gate import tf_keras
from tfopt.measure.calibration import activation_ranges
from tfopt.measure.quality import evaluate
from tfopt.quantization.synthetic import synthetic_inputs
from tfopt.target import Target
from tfopt.testing.models import small_cnn
from tfopt.tflite.convert import convert

layers = tf_keras.layers


@pytest.fixture(scope="module")
def net(trained):
    return trained(small_cnn)


def closeness(model, inputs, want):
    """By which factor the ranges are off, in the mean over the activations."""
    found = activation_ranges(convert(model, representative=inputs, target=Target.int8()))
    off = [np.log((found[name][1] - found[name][0]) / (high - low)) for name, (low, high) in want]
    return float(np.exp(np.mean(np.abs(off))))


def test_files_calibrated_without_data_are_nearly_as_good(net, digits):
    whole = evaluate(net, task=digits).value
    want = activation_ranges(convert(net, task=digits, target=Target.int8())).items()
    for value_range in (None, (0, 1)):
        inputs = synthetic_inputs(net, 32, value_range=value_range)
        tflite = convert(net, representative=inputs, target=Target.int8())
        assert evaluate(tflite, task=digits).value >= whole - 0.02
        assert closeness(net, inputs, want) < 1.5
    noise = np.random.default_rng(0).normal(size=(32, 8, 8, 1)).astype(np.float32)
    assert closeness(net, inputs, want) < closeness(net, noise, want)


def test_inputs_are_seeded_and_in_their_range(net):
    inputs = synthetic_inputs(net, 9, seed=3, value_range=(0, 1))
    assert inputs.shape == (9, 8, 8, 1) and inputs.dtype == np.float32
    assert inputs.min() >= 0 and inputs.max() <= 1
    again = synthetic_inputs(net, 9, seed=3, value_range=(0, 1))
    np.testing.assert_array_equal(inputs, again)
    assert not np.array_equal(inputs, synthetic_inputs(net, 9, seed=4, value_range=(0, 1)))


def test_the_scale_of_the_inputs_is_found():
    image = layers.Input((8, 8, 1), name="image")
    norm = layers.BatchNormalization(name="norm")
    model = tf_keras.Model(image, layers.Conv2D(2, 3, name="conv")(norm(image)))
    norm.set_weights([np.ones(1), np.zeros(1), np.full(1, 120.0), np.full(1, 60.0**2)])
    inputs = synthetic_inputs(model, 32)
    assert inputs.mean() == pytest.approx(120, rel=0.15)
    assert inputs.std() == pytest.approx(60, rel=0.15)


def test_several_inputs_come_by_name():
    left, right = (layers.Input((4,), name=name) for name in ("left", "right"))
    x = layers.BatchNormalization()(layers.Concatenate()([left, right]))
    model = tf_keras.Model([left, right], layers.Dense(2)(x))
    found = synthetic_inputs(model, 5)
    assert {name: array.shape for name, array in found.items()} == {
        "left": (5, 4),
        "right": (5, 4),
    }


def test_what_cannot_be_made_is_refused(net):
    image = layers.Input((8,), name="image")
    with pytest.raises(ModelError, match="without a batch norm"):
        synthetic_inputs(tf_keras.Model(image, layers.Dense(2)(image)))
    words = layers.Input((8,), dtype="int32", name="words")
    with pytest.raises(ModelError, match="input 'words' of int32"):
        synthetic_inputs(tf_keras.Model(words, layers.Embedding(4, 2)(words)))
    with pytest.raises(SettingError, match="count=0"):
        synthetic_inputs(net, 0)
    for value_range in ((1, 0), 5, (0, 1, 2), ("low", "high"), (0, np.inf)):
        with pytest.raises(SettingError, match=f"value_range={re.escape(repr(value_range))}"):
            synthetic_inputs(net, value_range=value_range)
    with pytest.raises(SettingError, match=r"representative=tfopt.synthetic_inputs\(model\)"):
        convert(net, target=Target.int8())
