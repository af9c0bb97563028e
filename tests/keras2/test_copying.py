"""What an error says is its cause, not the call it came up in."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.errors import ModelError
from tfopt.keras2.copying import first_line
from tfopt.keras_gate import load_model, tf_keras


def picky(home):
    """A layer in a layer that fails."""

    class Inner(home.layers.Layer):
        def call(self, x):
            return x + np.asarray([1, 2])[7]

    class Outer(home.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Inner(name="inner")

        def call(self, x):
            return self.inner(x)

    return Outer()


CAUSE = "index 7 is out of bounds for axis 0 with size 2"


@pytest.mark.parametrize(
    ("home", "expected"),
    [
        (keras, f"Inner.call(): {CAUSE}"),
        (tf_keras, f"layer 'inner' (type Inner): IndexError: {CAUSE}"),
    ],
    ids=["keras", "tf_keras"],
)
def test_the_innermost_layer_and_the_cause(home, expected):
    with pytest.raises(Exception) as caught:
        picky(home)(home.Input((3,)))
    assert first_line(caught.value) == expected


def test_marks_of_tensorflow_are_left_out():
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        keras.ops.matmul(tf.ones((2, 1, 3)), tf.ones((7, 3, 3)))
    assert first_line(caught.value).startswith("In[0] and In[1] must have compatible batch dim")
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        tf_keras.layers.Embedding(4, 2, name="rows")(np.array([5]))
    expected = "layer 'rows' (type Embedding): indices[0] = 5 is not in [0, 4)"
    assert first_line(caught.value) == expected


def test_what_is_no_layers():
    assert first_line(ValueError("  plain\nand simple\n\nmore")) == "plain and simple"
    assert first_line(KeyError()) == "KeyError"
    file = (
        "<class 'X'> could not be deserialized. Exception encountered: no X. Full object config: 1"
    )
    assert first_line(TypeError(file)) == "no X."


def test_a_refusal_says_the_cause():
    class Net(keras.Model):
        def build(self, shape):
            self.built = True

        def call(self, x):
            return picky(keras)(x)

    net = Net(name="net")
    net.build((None, 3))
    with pytest.raises(ModelError, match=rf"'net' .*Inner\.call\(\): {CAUSE}; expected"):
        load_model(net)
