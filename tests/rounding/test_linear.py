"""Every layer with a kernel is rows of inputs times a matrix."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from tfopt.keras_gate import tf_keras
from tfopt.rounding.linear import KINDS, Linear

layers = tf_keras.layers


def random_bias(layer):
    layer.bias.assign(np.random.default_rng(0).normal(size=layer.bias.shape))
    return layer


def check(layer, inputs):
    """The layer's output is the product at every place."""
    output = layer(inputs)
    random_bias(layer)
    output = layer(inputs).numpy()
    linear = Linear(layer)
    places = tf.range(linear.places(inputs))
    rows = linear.rows(inputs, places)
    matrix = linear.matrix(linear.kernel.numpy())
    assert matrix.shape[1] == linear.fan_in == rows.shape[2]
    made = (tf.matmul(rows, matrix) + linear.bias).numpy()
    expected = output.reshape(-1, matrix.shape[0], matrix.shape[2]).transpose(1, 0, 2)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    np.testing.assert_array_equal(linear.as_kernel(matrix), linear.kernel)


def image(*shape):
    return tf.random.stateless_normal(shape, (0, 1))


@hypothesis.given(
    kind=strategies.sampled_from(["Conv2D", "DepthwiseConv2D", "Conv2DTranspose"]),
    size=strategies.tuples(strategies.integers(1, 3), strategies.integers(1, 3)),
    stride=strategies.integers(1, 3),
    rate=strategies.integers(1, 2),
    padding=strategies.sampled_from(["same", "valid"]),
    height=strategies.integers(5, 8),
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_two_dimensions(kind, size, stride, rate, padding, height):
    rate = rate if stride == 1 else 1
    settings = {"strides": stride, "dilation_rate": rate, "padding": padding}
    layer = getattr(layers, kind)(*([] if "Depth" in kind else [5]), size, **settings)
    check(layer, image(2, height, 7, 4))


@pytest.mark.parametrize("padding", ["same", "valid", "causal"])
@pytest.mark.parametrize(("stride", "rate"), [(1, 1), (2, 1), (1, 2)])
def test_one_dimension(padding, stride, rate):
    settings = {"strides": stride, "dilation_rate": rate}
    check(layers.Conv1D(5, 3, padding=padding, **settings), image(2, 9, 4))
    if padding != "causal":
        check(layers.DepthwiseConv1D(3, padding=padding, **settings), image(2, 9, 4))
        check(layers.Conv1DTranspose(5, 3, strides=stride, padding=padding), image(2, 9, 4))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Conv2D(6, 3, groups=2), (2, 6, 6, 4)),
        (layers.DepthwiseConv2D(3, depth_multiplier=3), (2, 6, 6, 4)),
        (layers.Dense(3), (2, 5)),
        (layers.Dense(3), (2, 4, 3, 5)),
    ],
)
def test_groups_and_dense_layers(layer, shape):
    check(layer, image(*shape))


def test_every_kind_is_tested_here():
    assert {kind.__name__ for kind in KINDS} == {
        "Conv1D", "Conv2D", "DepthwiseConv1D", "DepthwiseConv2D", "Conv1DTranspose",
        "Conv2DTranspose", "Dense",
    }  # fmt: skip
