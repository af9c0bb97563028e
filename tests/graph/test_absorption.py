"""Biases that are absorbed make activations smaller and change nothing on the samples."""

import numpy as np

from tfopt.graph.absorption import absorb_biases
from tfopt.graph.equality import difference, results
from tfopt.keras_gate import tf_keras

layers = tf_keras.layers


def net(padding):
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(4, 1, activation="relu", name="first"),
            layers.MaxPooling2D(),
            layers.Conv2D(3, 3, padding=padding, name="second"),
        ]
    )
    model.get_layer("first").bias.assign([5.0, 0.0, 5.0, -9.0])
    return model, [np.random.default_rng(0).random((20, 6, 6, 2), np.float32)]


def test_what_is_always_positive_moves_on():
    model, arrays = net("valid")
    absorbed = absorb_biases(model, arrays)
    assert difference(results(model, arrays), results(absorbed, arrays)) < 1e-5
    moved = model.get_layer("first").bias - absorbed.get_layer("first").bias
    assert moved[0] > 2 and moved[2] > 2 and moved[3] == 0


def test_nothing_moves_where_padding_would_show():
    model, arrays = net("same")
    absorbed = absorb_biases(model, arrays)
    np.testing.assert_array_equal(absorbed.get_weights()[1], model.get_weights()[1])
