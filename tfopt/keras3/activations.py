"""The activation functions of Keras 3 that tf_keras lacks, or computes differently."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

# Functions that both Keras know by the same name and mean the same by.
SHARED = frozenset(
    {
        "elu", "exponential", "gelu", "leaky_relu", "linear", "log_softmax", "mish", "relu",
        "relu6", "selu", "sigmoid", "softmax", "softplus", "softsign", "tanh",
    }
)  # fmt: skip
RENAMED = {"silu": "swish", "swish": "swish"}


def _registered(function: Any) -> Any:
    return tf_keras.saving.register_keras_serializable(package="tfopt")(function)


@_registered
def hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """relu6(x + 3) / 6; tf_keras' own is clip(0.2 x + 0.5, 0, 1), up to 5 % away."""
    return tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


@_registered
def hard_silu(x: tf.Tensor) -> tf.Tensor:
    """Returns x * relu6(x + 3) / 6, also called hard_swish."""
    return x * hard_sigmoid(x)


@_registered
def hard_tanh(x: tf.Tensor) -> tf.Tensor:
    """clip(x, -1, 1)."""
    return tf.clip_by_value(x, -1.0, 1.0)


@_registered
def hard_shrink(x: tf.Tensor) -> tf.Tensor:
    """Returns x outside -0.5..0.5, else 0."""
    return tf.where(tf.abs(x) > 0.5, x, tf.zeros_like(x))


@_registered
def soft_shrink(x: tf.Tensor) -> tf.Tensor:
    """Returns x drawn 0.5 towards 0."""
    return tf.nn.relu(x - 0.5) - tf.nn.relu(-x - 0.5)


@_registered
def tanh_shrink(x: tf.Tensor) -> tf.Tensor:
    """Returns x - tanh(x)."""
    return x - tf.tanh(x)


@_registered
def log_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """log(1 / (1 + exp(-x)))."""
    return tf.math.log_sigmoid(x)


@_registered
def celu(x: tf.Tensor) -> tf.Tensor:
    """max(x, 0) + min(exp(x) - 1, 0)."""
    return tf.nn.relu(x) + tf.math.expm1(tf.minimum(x, 0.0))


@_registered
def glu(x: tf.Tensor) -> tf.Tensor:
    """The first half of the channels, gated by the sigmoid of the second."""
    values, gates = tf.split(x, 2, axis=-1)
    return values * tf.sigmoid(gates)


@_registered
def gelu_tanh(x: tf.Tensor) -> tf.Tensor:
    """GELU by its tanh approximation, the default of `keras.ops.gelu`."""
    return tf.nn.gelu(x, approximate=True)


@_registered
def squareplus(x: tf.Tensor) -> tf.Tensor:
    """(x + sqrt(x² + 4)) / 2."""
    return (x + tf.sqrt(tf.square(x) + 4.0)) * 0.5


@_registered
def sparse_plus(x: tf.Tensor) -> tf.Tensor:
    """0 up to -1, (x + 1)² / 4 up to 1, then x."""
    return tf.where(x <= -1.0, tf.zeros_like(x), tf.where(x < 1.0, 0.25 * tf.square(x + 1.0), x))


@_registered
def sparse_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """clip((x + 1) / 2, 0, 1)."""
    return tf.clip_by_value(0.5 * (x + 1.0), 0.0, 1.0)


OWN = {
    function.__name__: function
    for function in (
        hard_sigmoid, hard_silu, hard_tanh, hard_shrink, soft_shrink, tanh_shrink, log_sigmoid,
        celu, glu, gelu_tanh, squareplus, sparse_plus, sparse_sigmoid,
    )
}  # fmt: skip


def counterpart(name: str) -> Any:
    """Returns what tf_keras calls the Keras 3 activation `name`, a name or a function of ours.

    None when there is no counterpart.

    Example:
        >>> counterpart("relu"), counterpart("silu"), counterpart("hard_sigmoid").__name__
        ('relu', 'swish', 'hard_sigmoid')
    """
    if name in SHARED:
        return name
    return RENAMED.get(name) or OWN.get("hard_silu" if name == "hard_swish" else name)
