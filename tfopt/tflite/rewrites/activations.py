"""Activation functions of exp, whose 8-bit kernel is a table, on the side where it is small."""

from __future__ import annotations

import tensorflow as tf

from tfopt.tflite.rewrites.call import Call, as_they_are, single, source

_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


def elu(call: Call) -> tf.Tensor:
    """Computes relu(x) + exp(min(x, 0)) - 1."""
    (x,) = call.inputs
    positive = _positive(x)
    return positive + (tf.exp(x - positive) - 1.0)


def selu(call: Call) -> tf.Tensor:
    """Computes scale · (relu(x) + alpha · (exp(min(x, 0)) - 1)), without selecting between two."""
    (x,) = call.inputs
    positive = _positive(x)
    negative = tf.exp(x - positive) * (_SELU_SCALE * _SELU_ALPHA)
    return positive * _SELU_SCALE + (negative - _SELU_SCALE * _SELU_ALPHA)


def softplus(call: Call) -> tf.Tensor:
    """Computes relu(x) - log(sigmoid(|x|)): the logarithm of 0.5 to 1 only, and no large exp."""
    (x,) = call.inputs
    return _positive(x) - tf.math.log(tf.sigmoid(tf.abs(x)))


def _positive(x: tf.Tensor) -> tf.Tensor:
    """relu(x), as an op of its own behind a dense layer.

    The converter would compute a relu along with that layer, and the layer once more for all else
    that reads it.
    """
    made = source(x)
    while made.type in ("BiasAdd", "AddV2", "Reshape"):
        made = source(made.inputs[0])
    return tf.nn.leaky_relu(x, alpha=0.0) if made.type == "MatMul" else tf.nn.relu(x)


def erfc(call: Call) -> tf.Tensor | None:
    """The one in a GELU, of a plain negation: so the converter knows the GELU, which is one op."""
    product = source(call.inputs[0])
    if product.type != "Mul":
        return None
    negated, factor = product.inputs
    inner = source(negated)
    if inner.type != "Mul" or single(inner.inputs[1]) != -1.0:
        return None
    with as_they_are():
        return tf.math.erfc(tf.negative(inner.inputs[0]) * factor)
