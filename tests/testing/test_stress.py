"""A stressed model computes the same with other ranges."""

import numpy as np
import pytest

from tfopt.errors import TechniqueError
from tfopt.graph.equality import prove_same
from tfopt.keras_gate import tf_keras
from tfopt.testing import depthwise_net, stress


def spread(model, name):
    largest = np.abs(model.get_layer(name).get_weights()[0]).max(axis=(0, 1, 3))
    return largest.max() / largest.min()


def test_the_same_seed_gives_the_same_model_and_the_input_stays():
    model = depthwise_net()
    before = model.get_weights()
    first, second, other = stress(model), stress(model), stress(model, seed=1)
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])
    prove_same(first, other)
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_ranges_are_far_apart():
    assert spread(stress(depthwise_net()), "pointwise_conv") > 20
    assert spread(stress(depthwise_net(), octaves=0.0), "pointwise_conv") < 5


def test_a_model_without_pairs_is_refused():
    single = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    with pytest.raises(TechniqueError, match="cannot be rescaled"):
        stress(single)
