"""Our activation functions are those of Keras 3."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from tfopt.keras3.activations import OWN, RENAMED, SHARED, counterpart
from tfopt.keras_gate import tf_keras

FLOATS = np_st.arrays(np.float32, (2, 6), elements=st.floats(-20, 20, width=32))


@pytest.mark.parametrize("name", sorted({*SHARED, *RENAMED, *OWN} - {"gelu_tanh"}))
@settings(max_examples=20, deadline=None)
@given(x=FLOATS)
def test_means_the_same_in_both(name, x):
    expected = keras.activations.get(name)(tf.constant(x))
    received = tf_keras.activations.get(counterpart(name))(tf.constant(x))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=2e-6)


@settings(max_examples=20, deadline=None)
@given(x=FLOATS)
def test_the_approximate_gelu_of_ops(x):
    expected = keras.ops.gelu(tf.constant(x))
    np.testing.assert_allclose(counterpart("gelu_tanh")(tf.constant(x)), expected, atol=1e-5)


def test_an_unknown_one_has_no_counterpart():
    assert counterpart("sparsemax") is None


def test_hard_sigmoid_is_not_that_of_tf_keras():
    assert counterpart("hard_sigmoid") is not tf_keras.activations.hard_sigmoid
