"""Each rewrite computes what the op or layer does that it replaces, before anything is rounded."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.keras_gate import tf_keras
from tfopt.tflite.rewrites import table
from tfopt.tflite.rewrites.tracing import rewritten

layers = tf_keras.layers


def traced(function, x, *, open_batch=True, wide=False):
    """The function as it is, and rewritten; both traced for samples like x."""
    spec = tf.TensorSpec([None if open_batch else x.shape[0], *x.shape[1:]], x.dtype)
    plain = tf.function(lambda x: function(x)).get_concrete_function(spec)
    with rewritten(integer=True, wide=wide):
        other = tf.function(lambda x: function(x)).get_concrete_function(spec)
    return plain, other


def kinds(function):
    return {op.type for op in function.graph.get_operations()}


def assert_equal(function, x, *, gone=None, tolerance=2e-6, wide=False):
    """The rewritten function has no such op any more, and the same values."""
    for open_batch in (True, False):
        plain, other = traced(function, x, open_batch=open_batch, wide=wide)
        if gone:
            assert gone in kinds(plain) or not open_batch  # of a known shape, zeros are a constant
            assert gone not in kinds(other)
        want, got = np.asarray(plain(x)), np.asarray(other(x))
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1, np.abs(want).max()))


def normal(*shape, scale=2.0):
    return tf.constant(np.random.default_rng(0).normal(scale=scale, size=shape), tf.float32)


OPS = {
    "Elu": tf.nn.elu,
    "Selu": tf.nn.selu,
    "Softplus": tf.nn.softplus,
    "Minimum": lambda x: x + tf.minimum(x, 0.0),
    "Neg": tf.negative,
    "Square": tf.square,
    "AddN": lambda x: tf.add_n([x, x, 2.0 * x]),
    "Sign": tf.sign,
    "ZerosLike": lambda x: x + tf.zeros_like(x),
    "Pow": lambda x: tf.pow(x, 3.0),
    "Cumsum": lambda x: tf.cumsum(x, axis=1),
    "LRN": lambda x: tf.nn.lrn(x[:, None], 2, 1.0, 0.3, 0.6),
    "NotEqual": lambda x: tf.cast(tf.not_equal(tf.nn.relu(x), 0.0), tf.float32),
    "SplitV": lambda x: tf.concat(tf.split(x, [1, 4, 3], -1)[::-1], -1),
    "Cast": lambda x: tf.cast(x > 0.3, tf.float32),
}


def test_a_quotient_divides_only_what_is_never_zero():
    _, other = traced(lambda x: tf.nn.relu(x) / (1.0 + x * x), normal(3, 6))
    (divided,) = (op for op in other.graph.get_operations() if op.type == "RealDiv")
    assert tf.get_static_value(divided.inputs[0]) == 1.0
    assert_equal(lambda x: tf.nn.relu(x) / (1.0 + x * x), normal(3, 6))


@pytest.mark.parametrize("kind", OPS)
def test_ops(kind):
    assert_equal(OPS[kind], normal(3, 6, 8), gone=kind)


TOKENS = tf.constant([[1, 0, 3], [3, 2, 0]])
VECTORS = normal(4, 5)
WIDE = {
    "Greater": (lambda x: x * tf.cast(x > 0.3, x.dtype), normal(3, 6)),
    "LessEqual": (lambda x: x * tf.cast(x <= -0.3, x.dtype), normal(3, 6)),
    "RealDiv": (lambda x: 2.0 / (x * x + 0.2), normal(3, 6)),
    "Softsign": (tf.nn.softsign, normal(3, 6)),
    "Sum": (lambda x: tf.reduce_sum(x, [1, -1], keepdims=True), normal(3, 6, 4)),
    "SelectV2": (lambda x: tf.where(x > tf.roll(x, 1, -1), x, 0.5 * x - 1.0), normal(3, 6)),
    "NotEqual": (lambda x: tf.cast(x != 3, tf.float32), TOKENS),
    "Equal": (lambda x: tf.gather(VECTORS, x) * tf.cast(x == 3, tf.float32)[..., None], TOKENS),
}


@pytest.mark.parametrize("kind", ["Greater", "GreaterEqual", "Less", "LessEqual"])
def test_comparisons_of_integers_in_sixteen_bits(kind):
    compare = getattr(tf.raw_ops, kind)
    assert_equal(lambda x: tf.cast(compare(x=x, y=2), tf.float32), TOKENS, gone=kind, wide=True)


@pytest.mark.parametrize("kind", WIDE)
def test_ops_of_sixteen_bits(kind):
    function, x = WIDE[kind]
    left = kind in ("Greater", "LessEqual")  # the comparison itself is left, and read by nothing
    assert_equal(function, x, gone=None if left else kind, wide=True)


@pytest.mark.parametrize("keepdims", [True, False])
def test_a_mean_over_more_places_than_a_sum_of_sixteen_bits_holds_takes_two(keepdims):
    def mean(x, axes):
        return tf.reduce_mean(x, axes, keepdims=keepdims)

    wide = normal(2, 300, 300, 3)
    assert_equal(lambda x: mean(x, [1, 2]), wide, wide=True)
    assert_equal(lambda x: mean(x, [-1, 1, 2]), wide, wide=True)
    for x, count in ((wide, 2), (wide[:, :200, :200], 1)):
        _, other = traced(lambda x: mean(x, [1, 2]), x, wide=True)
        assert [op.type for op in other.graph.get_operations()].count("Mean") == count


def test_a_hard_swish_in_sixteen_bits_is_no_longer_what_the_converter_knows():
    _, other = traced(lambda x: x * tf.nn.relu6(x + 3.0) / 6.0, normal(3, 6), wide=True)
    added = [op for op in other.graph.get_operations() if op.type == "AddV2"]
    assert tf.get_static_value(added[0].inputs[1]) != 3.0


def test_infinities_are_selected_rather_than_multiplied():
    function = functools.partial(lambda x: tf.where(x > 0.0, x, -np.inf))
    plain, other = traced(function, normal(3, 6), wide=True)
    np.testing.assert_array_equal(other(normal(3, 6)), plain(normal(3, 6)))


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 2.0, 5.0])
def test_powers(exponent):
    assert_equal(lambda x: tf.pow(tf.abs(x) + 0.5, exponent), normal(3, 4), gone="Pow")


@pytest.mark.parametrize("power", [0.5, 2.5, 30.0])
def test_other_powers_stay_as_they_are(power):
    _, other = traced(lambda x: tf.pow(x, power), normal(3, 4))
    assert "Pow" in kinds(other)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [1, -1])
def test_cumulative_sums(axis, reverse, exclusive):
    sums = functools.partial(tf.cumsum, axis=axis, reverse=reverse, exclusive=exclusive)
    assert_equal(sums, normal(2, 3, 4), gone="Cumsum")


def test_what_is_no_real_number_stays_as_it_is():
    whole = tf.constant([[1, -2, 3]])
    for kind, function in {"Neg": tf.negative, "Square": tf.square, "Sign": tf.sign}.items():
        plain, other = traced(function, whole)
        assert kind in kinds(other)
        np.testing.assert_array_equal(plain(whole), other(whole))


def test_a_gelu_stays_what_the_converter_knows():
    _, other = traced(tf.nn.gelu, normal(2, 4))
    assert {"Erfc", "Neg"} <= kinds(other)


def test_an_op_in_a_lambda_layer_is_found():
    layer = layers.Lambda(tf.nn.elu)
    assert_equal(layer, normal(2, 4), gone="Elu")


def test_only_while_it_is_asked_for():
    with rewritten(integer=True):
        pass
    function = tf.function(tf.nn.elu).get_concrete_function(tf.TensorSpec([2]))
    assert "Elu" in kinds(function)


def test_a_file_that_computes_in_floating_point_keeps_the_ops_it_has():
    with rewritten(integer=False):
        function = tf.function(tf.nn.elu).get_concrete_function(tf.TensorSpec([2]))
    assert "Elu" in kinds(function)
    assert set(table.ANY) < set(table.INTEGER)


# Volumes

sizes = st.integers(3, 6)


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(sizes, sizes, sizes),
    window=st.tuples(*[st.integers(1, 3)] * 3),
    strides=st.tuples(*[st.integers(1, 2)] * 3),
    padding=st.sampled_from(["same", "valid"]),
    groups=st.sampled_from([1, 2]),
)
def test_convolutions_of_volumes(shape, window, strides, padding, groups):
    layer = layers.Conv3D(
        4, window, strides=strides, padding=padding, groups=groups, bias_initializer="normal"
    )
    x = normal(2, *shape, 2 * groups)
    layer(x)
    if groups == 1:
        assert_equal(layer, x, gone="Conv3D", tolerance=1e-5)
    else:  # TensorFlow itself computes groups of volumes on a GPU only
        kernels = tf.split(layer.kernel, groups, -1)
        parts = [
            tf.nn.conv3d(part, kernel, (1, *strides, 1), padding.upper())
            for part, kernel in zip(tf.split(x, groups, -1), kernels, strict=True)
        ]
        with rewritten(integer=True):
            other = tf.function(layer).get_concrete_function(tf.TensorSpec([None, *x.shape[1:]]))
        want = tf.concat(parts, -1) + layer.bias
        np.testing.assert_allclose(other(x), want, atol=1e-4)


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(sizes, sizes, sizes),
    window=st.tuples(*[st.integers(1, 3)] * 3),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
)
def test_transposed_convolutions_of_volumes(shape, window, stride, padding):
    layer = layers.Conv3DTranspose(
        3, window, strides=stride, padding=padding, bias_initializer="normal"
    )
    x = normal(2, *shape, 2)
    layer(x)
    assert_equal(layer, x, gone="Conv3DBackpropInputV2", tolerance=1e-5)


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(sizes, sizes, sizes),
    window=st.tuples(*[st.integers(1, 3)] * 3),
    strides=st.tuples(*[st.integers(1, 3)] * 3),
    padding=st.sampled_from(["same", "valid"]),
    kind=st.sampled_from([layers.MaxPooling3D, layers.AveragePooling3D]),
)
def test_pooling_of_volumes(shape, window, strides, padding, kind):
    layer = kind(window, strides=strides, padding=padding)
    gone = "MaxPool3D" if kind is layers.MaxPooling3D else "AvgPool3D"
    assert_equal(layer, normal(2, *shape, 3), gone=gone)


# Layers


@pytest.mark.parametrize("groups", [1, 2, -1])
@pytest.mark.parametrize("shape", [(10, 4), (5, 3, 4), (2, 3, 4, 4)])
def test_group_normalization(groups, shape):
    layer = layers.GroupNormalization(
        groups, gamma_initializer="uniform", beta_initializer="normal"
    )
    x = 3.0 + normal(2, *shape)
    layer(x)
    assert_equal(layer, x, tolerance=1e-5)


@pytest.mark.parametrize("axis", [-1, 1, [1, 2], [2, -1]])
def test_layer_normalization(axis):
    layer = layers.LayerNormalization(axis, gamma_initializer="uniform", beta_initializer="normal")
    x = 3.0 + normal(2, 4, 3, 5)
    layer(x)
    assert_equal(layer, x, tolerance=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_masked_attention(causal):
    x = normal(2, 5, 8, scale=1.0)
    attention = layers.MultiHeadAttention(2, 4)
    attention(x, x)
    plain, other = traced(lambda x: attention(x, x, use_causal_mask=causal), x)
    np.testing.assert_allclose(other(x), plain(x), atol=1e-4)


def test_the_mask_of_a_softmax_leaves_small_logits_only():
    def attend(x):
        mask = tf.constant(np.tril(np.ones((4, 4), np.float32)))
        logits = x + (1.0 - mask) * -1e9
        return tf.nn.softmax(logits)

    x = normal(2, 4, 4)
    plain, other = traced(attend, x)
    np.testing.assert_allclose(other(x), plain(x), atol=1e-4)
    (masked,) = (op for op in other.graph.get_operations() if op.type == "Softmax")
    assert masked.inputs[0].op.type == "SelectV2"


def test_bytes_that_are_cast_are_the_input_itself():
    def model(x):
        return tf.cast(tf.cast(x, tf.uint8), tf.float32) / 255.0

    _, other = traced(model, tf.constant([[3.0, 250.0]]))
    np.testing.assert_allclose(
        other(tf.constant([[3.0, 250.0]])), [[3 / 255, 250 / 255]], rtol=1e-6
    )
