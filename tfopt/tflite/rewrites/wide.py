"""Ops for 16-bit activations, for which the converter and its kernels know less than for 8 bits."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfopt.tflite.rewrites import booleans
from tfopt.tflite.rewrites.call import Call, constant, single, source

_TINY = 1e-12
_PLACES = 2**16  # 16-bit numbers that fill a sum of 32 bits
_STEEP = 6000.0  # a step is a ramp as wide as 1/1000 of its threshold
_HIGH = 6.0  # where relu6 ends it
_COMPARISONS = {"Greater": 1.0, "GreaterEqual": 1.0, "Less": -1.0, "LessEqual": -1.0}
_ALMOST_THREE = float(np.nextafter(np.float32(3), np.float32(0)))


def total(call: Call) -> tf.Tensor | None:
    """A mean times its number: the converter gives a sum the scale of what is summed.

    The file then runs, and every sum is cut off at the largest summand.
    """
    x, axes = call.inputs
    along = constant(axes)
    if not call.is_float or along is None or x.shape.rank is None:
        return None
    sizes = [x.shape[int(axis)] for axis in along.flat]
    if None in sizes or not sizes:
        return None
    mean = tf.reduce_mean(x, [int(a) for a in along.flat], keepdims=call.flag("keep_dims"))
    return mean * float(np.prod(sizes))


def mean(call: Call) -> tf.Tensor | None:
    """A mean along one axis after the other, where the sum over all could overflow 32 bits."""
    x, axes = call.inputs
    along = constant(axes)
    if not call.is_float or along is None or along.size < 2 or x.shape.rank is None:
        return None
    *others, last = sorted(int(axis) % x.shape.rank for axis in along.flat)
    sizes = [x.shape[axis] for axis in (*others, last)]
    if None not in sizes and np.prod(sizes) <= _PLACES:
        return None
    keep = call.flag("keep_dims")
    return tf.reduce_mean(tf.reduce_mean(x, last, keepdims=keep), others, keepdims=keep)


def add(call: Call) -> tf.Tensor | None:
    """Adds a float beside 3, from which the converter makes no hard swish: its op has 8 bits."""
    x, other = call.inputs
    if not call.is_float or other.shape.rank != 0 or single(other) != 3.0:
        return None
    return x + _ALMOST_THREE


def division(call: Call) -> tf.Tensor | None:
    """Computes x · r · (2 - y · r), with r = y / sqrt(|y|)⁴ near 1 / y.

    The root's kernel is a table, which is coarse for small y: the step of Newton's makes it exact.
    """
    x, y = call.inputs
    if not call.is_float or constant(y) is not None:
        return None
    root = tf.math.rsqrt(tf.maximum(tf.abs(y), _TINY))
    near = y * root * root * root * root
    return x * (near * (2.0 - y * near))


def softsign(call: Call) -> tf.Tensor:
    """Computes x / (1 + |x|)."""
    (x,) = call.inputs
    return x / (1.0 + tf.abs(x))


def cast(call: Call) -> tf.Tensor | None:
    """1 where true and 0 where not: looked up, or of a threshold a steep ramp."""
    (x,) = call.inputs
    if x.dtype != tf.bool or call.attributes["DstT"].type != tf.float32.as_datatype_enum:
        return booleans.cast(call)
    return _as_real(x)


def select(call: Call) -> tf.Tensor | None:
    """Computes m · x + (1 - m) · y for a condition m, since a selection is made in floats."""
    condition, x, y = call.inputs
    if x.dtype != tf.float32 or constant(condition) is not None:
        return None
    if any(value is not None and np.isinf(value).any() for value in map(constant, (x, y))):
        return None  # 0 times infinity is no number
    chosen = _as_real(condition)
    parts = [m * z for m, z in ((chosen, x), (1.0 - chosen, y)) if single(z) != 0.0]
    return sum(parts[1:], parts[0]) if parts else None


def not_equal(call: Call) -> tf.Tensor | None:
    """Casts x xor y: the converter calibrates the integers that it compares, and finds no range."""
    x, y = call.inputs
    if not x.dtype.is_integer:
        return booleans.not_equal(call)
    return tf.cast(x if single(y) == 0.0 else tf.bitwise.bitwise_xor(x, y), tf.bool)


def equal(call: Call) -> tf.Tensor | None:
    """The opposite."""
    differs = not_equal(call) if call.inputs[0].dtype.is_integer else None
    return None if differs is None else tf.logical_not(differs)


def greater(call: Call) -> tf.Tensor | None:
    """Casts max(x - y, 0), of integers."""
    x, y = call.inputs
    return tf.cast(tf.maximum(x - y, 0), tf.bool) if x.dtype.is_integer else None


def less(call: Call) -> tf.Tensor | None:
    """The other way round."""
    x, y = call.inputs
    return greater(Call("Greater", (y, x), {}))


def greater_equal(call: Call) -> tf.Tensor | None:
    """Not less."""
    smaller = less(call)
    return None if smaller is None else tf.logical_not(smaller)


def less_equal(call: Call) -> tf.Tensor | None:
    """Not greater."""
    larger = greater(call)
    return None if larger is None else tf.logical_not(larger)


def _as_real(condition: tf.Tensor) -> tf.Tensor:
    made = source(condition)
    ramp = _ramp(made) if made.type in _COMPARISONS else None
    if ramp is not None:
        return ramp
    return tf.gather(tf.constant([0.0, 1.0]), tf.cast(condition, tf.int32))


def _ramp(comparison: tf.Operation) -> tf.Tensor | None:
    """A step at a threshold, in ops that have a 16-bit kernel; comparisons have none."""
    x, threshold = comparison.inputs
    level = single(threshold)
    if x.dtype != tf.float32 or level is None:
        return None
    above = tf.nn.relu((x - level) * _COMPARISONS[comparison.type])
    return tf.nn.relu6(above * (_STEEP / (abs(level) or 1.0))) / _HIGH
