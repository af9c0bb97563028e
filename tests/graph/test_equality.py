"""Two models compute the same, or the first layer that does not is named."""

import numpy as np
import pytest

from tfopt.errors import DataError, TechniqueError
from tfopt.graph.batch_norm import fold_batch_norm
from tfopt.graph.equality import difference, first_difference, prove_same
from tfopt.graph.stepping import random_inputs
from tfopt.keras_gate import clone, tf_keras
from tfopt.testing import depthwise_net, residual_net, stress

layers = tf_keras.layers


@pytest.mark.parametrize("name", ["stem_conv", "second_conv", "probabilities"])
def test_the_first_layer_that_differs_is_named(name):
    model = residual_net()
    other = fold_batch_norm(model)
    kernel = other.get_layer(name).kernel
    kernel.assign_add(np.random.default_rng(0).normal(0, 0.5, kernel.shape))
    with pytest.raises(TechniqueError, match=f"from the layer '{name}' on"):
        prove_same(model, other)


def test_rescaled_and_folded_channels_count_as_the_same_until_a_layer_differs():
    model = depthwise_net()
    other = stress(model)
    arrays = random_inputs(model)
    assert first_difference(model, other, arrays) is None
    other.get_layer("pointwise_conv").bias.assign_add(np.full(16, 1.0))
    assert first_difference(model, other, arrays) == "pointwise_conv"


def test_a_difference_that_only_given_inputs_show():
    def capped(limit):
        return tf_keras.Sequential([layers.Input((2,)), layers.ReLU(limit, name="relu")])

    prove_same(capped(50.0), capped(60.0))
    with pytest.raises(TechniqueError, match="on the inputs given"):
        prove_same(capped(50.0), capped(60.0), np.full((1, 2), 70.0))
    with pytest.raises(DataError, match="samples of shape"):
        prove_same(capped(50.0), capped(60.0), np.ones((1, 3)))


def test_random_inputs_fit_every_kind_of_input():
    model = tf_keras.Model(
        [layers.Input((None, 3)), layers.Input((5,), dtype="int32")], layers.Input(())
    )
    shapes = [(array.shape, array.dtype.name) for array in random_inputs(model)]
    assert shapes == [((4, 64, 3), "float32"), ((4, 5), "int32")]


def test_floats_that_are_word_numbers_are_none_too_many_or_below_zero():
    words = layers.Input((5,))  # float32, as it is unless said otherwise
    model = tf_keras.Model(words, layers.Dense(2)(layers.Embedding(10, 8)(words)))
    prove_same(model, clone(model))


def test_several_inputs_and_outputs():
    left, right = layers.Input((4,), name="left"), layers.Input((3,), dtype="int32", name="right")
    total = layers.Dense(3, name="dense")(left)
    table = layers.Embedding(5, 2, name="table")(right)
    model = tf_keras.Model({"l": left, "r": right}, {"t": total, "e": table})
    prove_same(model, clone(model), {"left": np.ones((2, 4)), "right": np.ones((2, 3))})


def test_numbers_that_are_not_finite_are_a_difference():
    assert difference([np.ones(2)], [np.array([1.0, np.nan])]) > 1
    assert difference([np.array([1.0, np.nan])], [np.array([1.0, np.nan])]) == 0
    assert difference([np.ones(2)], [np.ones(3)]) > 1
