"""A wrong translation is refused, by the name of the first layer that differs."""

import keras
import numpy as np
import pytest
from keras import layers

from tfopt.errors import ModelError
from tfopt.keras3 import layers as rules
from tfopt.keras3.proof import prove
from tfopt.keras3.translation import translate_model
from tfopt.keras_gate import load_model, tf_keras


def two_slopes():
    inner = keras.Sequential([layers.LeakyReLU(0.2, name="slope")], name="inner")
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), inner, layers.LeakyReLU(0.2, name="later")]
    )


def test_the_first_layer_that_differs_is_named(monkeypatch):
    def wrong(layer, name):
        return rules.Translated(tf_keras.layers.LeakyReLU(0.21, name=name), ())

    monkeypatch.setitem(rules._RULES, "LeakyReLU", wrong)
    text = r"'inner/slope' of class LeakyReLU.*differs by 0\.\d+ .*random inputs; expected at most"
    with pytest.raises(ModelError, match=text):
        load_model(two_slopes())


def test_a_wrong_default_hides_under_initial_statistics_and_is_found(monkeypatch):
    def wrong(layer, name):
        new = tf_keras.layers.BatchNormalization(epsilon=2 * layer.epsilon, name=name)
        return rules.Translated(new, ((layer, new),))

    monkeypatch.setitem(rules._RULES, "BatchNormalization", wrong)
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(name="bn")])
    with pytest.raises(ModelError, match="'bn' of class BatchNormalization"):
        load_model(model)


def test_the_weights_are_the_users_afterwards():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.BatchNormalization()])
    translated = translate_model(model)
    prove(model, translated)
    for variable, weight in translated.pairs:
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), weight.numpy())
    assert len(translated.pairs) == len(model.weights)


def test_a_size_left_open_is_made_large_enough():
    model = keras.Sequential(
        [keras.Input((None, None, 1)), *(layers.Conv2D(1, 3, strides=2) for _ in range(4))]
    )
    assert load_model(model).output_shape == (None, None, None, 1)


def test_a_model_that_multiplies_rounding_is_not_refused():
    chaotic = [layers.Lambda(lambda x: keras.ops.sin(x * 30.0)) for _ in range(6)]
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), *chaotic])
    assert load_model(model).output_shape == (None, 4)
