"""Arithmetic that has no 8-bit kernel of its own, by products, sums and selections."""

from __future__ import annotations

import functools
import operator

import numpy as np
import tensorflow as tf

from tfopt.tflite.rewrites.call import Call, constant, single

_LARGEST_POWER = 8
_MOST_DIMENSIONS = 4


def negative(call: Call) -> tf.Tensor | None:
    """-1 · x."""
    return call.inputs[0] * -1.0 if call.is_float else None


def square(call: Call) -> tf.Tensor | None:
    """Computes x · x."""
    return call.inputs[0] * call.inputs[0] if call.is_float else None


def add_n(call: Call) -> tf.Tensor | None:
    """Computes x + y + ..."""
    return functools.reduce(operator.add, call.inputs) if call.is_float else None


def squared_difference(call: Call) -> tf.Tensor | None:
    """(x - y) · (x - y), of more dimensions than the 8-bit kernel takes."""
    x, y = call.inputs
    rank = max(x.shape.rank or 0, y.shape.rank or 0)
    return (x - y) * (x - y) if call.is_float and rank > _MOST_DIMENSIONS else None


def minimum(call: Call) -> tf.Tensor | None:
    """Computes x - max(x, 0) for min(x, 0), whose op has one range for what it reads and writes.

    The converter takes the range of what it writes: whatever else reads x would see no positive x.
    """
    x, limit = call.inputs
    if not call.is_float or single(limit) != 0.0 or limit.shape.rank != 0:
        return None
    return x - tf.nn.relu(x)


def power(call: Call) -> tf.Tensor | None:
    """Computes x · x · ... for a small whole exponent, 1 over it for a negative one."""
    x, exponent = call.inputs
    times = single(exponent) if call.is_float else None
    if times is None or times != int(times) or not 1 <= abs(times) <= _LARGEST_POWER:
        return None
    if exponent.shape.rank and exponent.shape != x.shape:
        return None
    product = functools.reduce(operator.mul, [x] * int(abs(times)))
    return product if times > 0 else 1.0 / product


def quotient(call: Call) -> tf.Tensor | None:
    """Computes x · (1 / y): where x is 0, the 8-bit kernel of x / y gives the smallest number."""
    x, y = call.inputs
    if not call.is_float or constant(x) is not None or constant(y) is not None:
        return None
    return x * (1.0 / y)


def sign(call: Call) -> tf.Tensor | None:
    """1 above 0, -1 below."""
    (x,) = call.inputs
    if not call.is_float:
        return None
    return tf.where(x > 0.0, 1.0, tf.where(x < 0.0, -1.0, 0.0))


def zeros_like(call: Call) -> tf.Tensor | None:
    """A constant; of an open shape min(max(x, 0), 0), which is its own shape at any size."""
    (x,) = call.inputs
    if not call.is_float:
        return None
    if x.shape.is_fully_defined():
        return tf.zeros(x.shape, x.dtype)
    return tf.minimum(tf.nn.relu(x), tf.zeros((1,) * (x.shape.rank or 1)))


def ones_like(call: Call) -> tf.Tensor | None:
    """Zeros of the shape, and 1."""
    zeros = zeros_like(call)
    return None if zeros is None else zeros + 1.0


def cumulative_sum(call: Call) -> tf.Tensor | None:
    """A product with a triangle of ones, along the axis put last: 32-bit sums, rounded once."""
    x, axis_tensor = call.inputs
    axis = single(axis_tensor)
    rank = x.shape.rank
    if not call.is_float or axis is None or rank is None or rank > _MOST_DIMENSIONS:
        return None
    along = int(axis) % rank
    size = x.shape[along]
    if size is None:
        return None
    upper = tf.linalg.band_part(tf.ones((size, size)), 0, -1)
    if call.flag("exclusive"):
        upper -= tf.eye(size)
    steps = np.arange(size)
    ahead = steps[None] - steps[:, None]  # how far ahead of each input each output is
    seen = (-ahead if call.flag("reverse") else ahead) >= int(call.flag("exclusive"))
    order = [i for i in range(rank) if i != along] + [along]
    back = [order.index(i) for i in range(rank)]
    moved = tf.transpose(x, order)
    return tf.transpose(tf.matmul(moved, tf.constant(seen.astype(np.float32))), back)
