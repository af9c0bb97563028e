"""Fake quantization put into a model: the same function when it is off."""

import numpy as np
import pytest
import tensorflow as tf

from tfopt import facts
from tfopt.errors import TechniqueError
from tfopt.graph.stepping import random_inputs
from tfopt.keras_gate import tf_keras
from tfopt.quantization.insert import (
    check_same_function,
    fake_quantization_off,
    insert,
    separate_activations,
)
from tfopt.quantization.layout import plan
from tfopt.quantization.ranges import calibrate, is_wrapper

layers = tf_keras.layers


def inserted(model):
    names = frozenset(layer.name for layer in model.layers)
    return insert(model, plan(model, names), facts.measure(model).kernels)


def net():
    image = layers.Input((8, 8, 2), name="image")
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Concatenate(name="join")(
        [x, layers.Conv2D(2, 3, activation="relu", name="b")(image)]
    )
    return tf_keras.Model(image, layers.Dense(3, name="top")(layers.Flatten()(x)))


def test_activations_in_front_of_which_the_file_rounds_become_layers():
    x = layers.Input((4,))
    hidden = layers.Dense(3, activation="relu", name="hidden")(x)
    kept = layers.Dense(3, activation="tanh", name="kept")(hidden)
    model = tf_keras.Model(x, layers.Dense(2, activation="softmax", name="top")(kept))
    separated, touched = separate_activations(model, frozenset({"hidden", "top"}))
    names = [layer.name for layer in separated.layers][1:]
    assert names == ["hidden", "kept", "top", "top_softmax"]
    assert touched == {"hidden", "top", "top_softmax"}
    inputs = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(separated(inputs), model(inputs))
    assert model.layers[-1].activation.__name__ == "softmax"


def test_a_model_without_such_activations_is_handed_back():
    model = net()
    assert separate_activations(model, frozenset({"b", "top"})) == (model, {"b", "top"})


def test_the_double_is_the_same_function_with_fake_quantization_off():
    model = net()
    pair = inserted(model)
    inputs = random_inputs(model)
    calibrate(model, pair.ranges, np.asarray(inputs[0]))
    check_same_function(pair, inputs)
    expected = model(inputs).numpy()
    assert not np.array_equal(pair.model(inputs), expected)
    with fake_quantization_off(pair.model):
        np.testing.assert_array_equal(pair.model(inputs), expected)
    assert not np.array_equal(pair.model(inputs), expected)


def test_layers_are_named_after_the_layers_they_round():
    names = [layer.name for layer in inserted(net()).model.layers]
    assert set(names) == {
        "image", "image_quantize", "quant_conv", "bn", "quant_b", "join", "join_quantize",
        "flatten" if "flatten" in names else names[-3], "quant_top", "top_quantize",
    }  # fmt: skip


def test_training_the_double_leaves_the_float_models_kernels():
    model = net()
    kernel = model.get_layer("conv").kernel
    wrapped = [layer for layer in inserted(model).model.layers if is_wrapper(layer)]
    assert all(layer._weight_vars[0][0] is not kernel for layer in wrapped)


def test_another_function_is_refused_with_the_first_layer_that_differs():
    model = net()
    pair = inserted(model)
    wrapper = pair.model.get_layer("quant_conv")
    wrapper._weight_vars[0][0].assign_add(np.ones(wrapper._weight_vars[0][0].shape))
    with pytest.raises(TechniqueError) as error:
        check_same_function(pair, random_inputs(model))
    assert str(error.value).startswith(
        "Received a fake-quantized model whose layer 'conv' (Conv2D) differs by "
    )
    assert str(error.value).endswith(
        "Fix: leave the layer out with skip=('conv',); if it is random at inference, replace it."
    )


def test_tensors_of_booleans_are_compared_too():
    x = layers.Input((4,), name="x")
    mask = layers.Lambda(lambda value: value > 0, name="mask")(x)
    kept = layers.Lambda(lambda pair: tf.where(pair[0], pair[1], 0.0), name="kept")([mask, x])
    model = tf_keras.Model(x, layers.Dense(2, name="top")(kept))
    pair = insert(model, plan(model, frozenset({"top"})), facts.measure(model).kernels)
    check_same_function(pair, [tf.constant([[1.0, -1.0, 2.0, 0.0]])])
