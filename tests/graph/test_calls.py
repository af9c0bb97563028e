"""Rebuilding a model call by call: the same function, whatever the wiring."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt.graph.calls import built_copy, nodes, rebuild
from tfopt.keras_gate import tf_keras

layers = tf_keras.layers


def branches():
    """Branches of different depth into one Concatenate, in an order that sorting would change."""
    image = layers.Input((6, 6, 2), name="image")
    deep = layers.Conv2D(3, 1, name="b")(layers.Conv2D(3, 1, name="z")(image))
    flat = layers.Conv2D(2, 1, name="a")(image)
    return tf_keras.Model(image, layers.Concatenate()([deep, image, flat]))


def shared_and_several():
    left, right = layers.Input((4,), name="left"), layers.Input((4,), name="right")
    tower = layers.Dense(3, name="tower")
    difference = layers.Subtract()([tower(left), tower(right)])
    return tf_keras.Model({"r": right, "l": left}, {"d": difference, "t": tower(left)})


def operations():
    image = layers.Input((6, 6, 2), name="image")
    x = layers.BatchNormalization()(image, training=False)
    x = tf.concat(tf.split(x[:, 1:-1, ::2] * 2.0, 2, axis=-1)[::-1], axis=-1)
    return tf_keras.Model(image, layers.MultiHeadAttention(2, 2)(x, value=x))


@pytest.mark.parametrize("build", [branches, shared_and_several, operations])
def test_rebuilt_model_computes_the_same(build):
    model = build()
    again, made = rebuild(model)
    inputs = tf.nest.map_structure(lambda t: tf.random.normal((3, *t.shape[1:])), model.input)
    tf.nest.map_structure(np.testing.assert_array_equal, model(inputs), again(inputs))
    assert again.input_names == model.input_names
    assert len(made) == sum(len(tf.nest.flatten(node.outputs)) for node in nodes(model))


def test_a_shared_layer_is_replaced_once():
    replaced = []

    def replace(layer):
        replaced.append(layer.name)
        return layer

    rebuild(shared_and_several(), replace=replace)
    assert replaced.count("tower") == 1


def test_layers_can_be_added_behind_a_tensor():
    model = branches()
    doubled, _ = rebuild(model, follow=lambda old, new: new * 2.0)
    image = np.ones((1, 6, 6, 2), np.float32)
    assert doubled(image).shape == model(image).shape
    assert not np.allclose(doubled(image), model(image))


def test_built_copy_has_weights_of_its_own():
    dense = layers.Dense(2, activation="relu", name="top")
    dense.build((None, 3))
    copy = built_copy(dense, (None, 3), {"activation": "linear"})
    assert copy.activation.__name__ == "linear"
    assert copy.kernel is not dense.kernel
    assert copy.kernel.name == "top/kernel:0"
