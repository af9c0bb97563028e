"""The TensorFlow functions for a `keras.ops` call, op by op: what cuts, joins or reduces tensors.

tf_keras records a function that is called on its symbolic tensors as a layer, which saves, loads
and is known to techniques. To add an op, write a function `(call) -> outputs | None` and put it in
the table at the end. None of them touches the axis of the samples. What is not there, or returns
None, becomes a `Keras3Operation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfopt.keras2.graph import is_symbol, without_ellipsis
from tfopt.keras3.call import Call, constant

Rule = Callable[[Call], Any]

# Keras 3 takes a quantile in 32 bits: 0.9 of ten steps ends this near the ninth.
_NEAR = 1e-5


def in_tensorflow(call: Call) -> Any:
    """Returns what TensorFlow's functions make of an op, None if it is none of theirs.

    Args:
        call: The call of the op.

    Returns:
        A symbolic tensor, or several. Layers come of it by the names that TensorFlow gives them.
    """
    rule = _RULES.get(type(call.operation).__name__)
    known = set(call.kwargs) <= {"constant_values"}  # what Keras 3 gives beside `pad`'s tensor
    if rule is None or not call.tensors or not known:
        return None
    dense = all(isinstance(tensor.type_spec, tf.TensorSpec) for tensor in call.tensors)
    return rule(call) if dense else None


def _axis(call: Call, axis: Any) -> int | None:
    """An axis of the first tensor counted from its first one, None for that of the samples."""
    rank = len(call.x.shape)
    return axis % rank or None if isinstance(axis, int) and -rank <= axis < rank else None


def _axes(call: Call, axis: Any) -> list[int] | None:
    """Several axes likewise; None if one is that of the samples, or all are meant."""
    axes = [_axis(call, each) for each in (axis if isinstance(axis, (list, tuple)) else [axis])]
    return [each for each in axes if each] if axes and all(axes) else None


def _split(call: Call) -> Any:
    axis = _axis(call, call.operation.axis)
    if axis is None:
        return None
    sizes = [part.shape[axis] for part in call.outputs]
    if None in sizes or min(sizes) < 1 or sum(sizes) != call.x.shape[axis]:
        return None
    return tf.split(call.x, len(sizes) if len(set(sizes)) == 1 else sizes, axis=axis)


def _item(call: Call) -> Any:
    """`x[:, key, ...]` of numbers that are known."""
    key = without_ellipsis(call.args[1], len(call.x.shape), slice(None))
    items = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    plain = all(item is None or isinstance(item, (int, slice)) for item in items)
    return call.x[items] if plain and items[:1] == (slice(None),) else None


def _at_places(tensor: Any, axis: int, item: Any) -> Any:
    """All samples at some places of an axis."""
    return tensor[tuple([slice(None)] * axis + [item])]


def _unstack(call: Call) -> Any:
    """One slice after another: TensorFlow Lite has no op of 8 bits that makes all of them."""
    axis = _axis(call, call.operation.axis)
    if axis is None or call.x.shape[axis] != len(call.outputs):
        return None
    return [_at_places(call.x, axis, place) for place in range(len(call.outputs))]


def _stack(call: Call) -> Any:
    tensors = list(call.x)
    axis = call.operation.axis % len(call.output.shape)
    alike = all(is_symbol(tensor) and tensor.dtype == tensors[0].dtype for tensor in tensors)
    return tf.stack(tensors, axis=axis) if alike and axis else None


def _take(call: Call) -> Any:
    """Places that are known, evenly spaced ones as a slice."""
    axis = _axis(call, call.operation.axis)
    size = None if axis is None else call.x.shape[axis]
    if axis is None or size is None or is_symbol(call.args[1]):
        return None
    given = np.asarray(call.args[1])
    if given.ndim > 1 or given.size == 0 or given.dtype.kind not in "iu":
        return None
    places = np.where(given < 0, given + size, given)
    if places.min() < 0 or places.max() >= size:
        return None
    if places.ndim == 0:
        return _at_places(call.x, axis, int(places))
    steps = set(np.diff(places).tolist()) or {1}
    if len(steps) == 1 and min(steps) > 0:
        return _at_places(call.x, axis, slice(int(places[0]), int(places[-1]) + 1, min(steps)))
    return tf.gather(call.x, places.tolist(), axis=axis)


def _flip(call: Call) -> Any:
    axes = _axes(call, call.operation.axis)
    if axes is None:
        return None
    steps = [-1 if axis in axes else None for axis in range(max(axes) + 1)]
    return call.x[tuple(slice(None, None, step) for step in steps)]


def _pad(call: Call) -> Any:
    """Zeros around the places of a sequence, an image or a volume are a layer."""
    widths = [tuple(map(int, pair)) for pair in call.operation.pad_width]
    mode = call.operation.mode.upper()
    value = constant(call.kwargs.get("constant_values", 0))
    known = mode in ("CONSTANT", "REFLECT", "SYMMETRIC") and value is not None
    if not known or len(widths) != len(call.x.shape) or any(widths[0]):
        return None
    places = widths[1:-1]
    if value:
        return tf.pad(call.x, widths, constant_values=value) if call.is_float else None
    if mode != "CONSTANT" or any(widths[-1]) or not 1 <= len(places) <= 3:
        return tf.pad(call.x, widths, mode)
    layer = getattr(tf_keras.layers, f"ZeroPadding{len(places)}D")
    return layer(places[0] if len(places) == 1 else places)(call.x)


def _matmul(call: Call) -> Any:
    """Sample by sample: as many axes on either side, that of the samples the first."""
    one, other = call.args
    if not is_symbol(one) or not is_symbol(other) or not call.is_float:
        return None
    return tf.matmul(one, other) if len(one.shape) == len(other.shape) > 2 else None


def _extreme(function: Callable[..., Any]) -> Rule:
    """Where the largest or smallest number is. Keras 3 takes -0.0 for less than 0.0, on top."""

    def rule(call: Call) -> Any:
        axis = _axis(call, call.operation.axis)
        if axis is None:
            return None
        place = function(call.x, axis=axis, output_type="int32")
        return tf.expand_dims(place, axis) if call.operation.keepdims else place

    return rule


def _reduced(function: Callable[..., Any]) -> Rule:
    """A sum, mean or maximum over some axes."""

    def rule(call: Call) -> Any:
        axes = _axes(call, call.operation.axis)
        plain = getattr(call.operation, "initial", None) is None and call.is_float
        if axes is None or not plain or getattr(call.operation, "dtype", None) is not None:
            return None
        return function(call.x, axis=axes, keepdims=call.operation.keepdims)

    return rule


def _quantile(call: Call) -> Any:
    """The numbers at a place of sorted axes; Keras 3 also lets NaN through, with a NaN in the file.

    Only the method "linear": Keras 3.15 takes all others for it, once they are in a model.
    """
    operation, shape = call.operation, call.x.shape[1:]
    axes = _axes(call, operation.axis)
    share = 0.5 if len(call.args) == 1 else constant(call.args[1])
    linear = getattr(operation, "method", "linear") == "linear"
    if axes is None or share is None or None in shape or not linear or not call.is_float:
        return None
    others = [axis for axis in range(1, len(shape) + 1) if axis not in axes]
    kept = [shape[axis - 1] for axis in others]
    rows = tf.transpose(call.x, [0, *others, *axes])
    rows = tf.reshape(rows, [-1, *kept, math.prod(shape) // math.prod(kept)])
    found = _at(rows, (rows.shape[-1] - 1) * float(np.float32(share)))
    return tf.reshape(found, [-1, *call.output.shape[1:]])


def _at(rows: Any, place: float) -> Any:
    """What stands at a place of the sorted rows; between two, in proportion."""
    low, above = int(place), place - int(place)
    largest = tf.math.top_k(rows, k=rows.shape[-1] - low).values
    last = len(rows.shape) - 1
    found = _at_places(largest, last, -1)
    return found if above < _NEAR else (1.0 - above) * found + above * _at_places(largest, last, -2)


def _each(function: Callable[..., Any]) -> Rule:
    """A function of one tensor, or of two of the same shape, element by element."""

    def rule(call: Call) -> Any:
        shapes = {tuple(tensor.shape) for tensor in call.tensors}
        alike = len(shapes) == 1 and len(call.tensors) == len(call.args)
        return function(*call.args) if alike and call.is_float else None

    return rule


def _clip(call: Call) -> Any:
    low, high = constant(call.operation.x_min), constant(call.operation.x_max)
    if low is None or high is None or not call.is_float:
        return None
    return tf.clip_by_value(call.x, low, high)


_RULES: dict[str, Rule] = {
    "Abs": _each(tf.abs),
    "Absolute": _each(tf.abs),
    "Amax": _reduced(tf.reduce_max),
    "Argmax": _extreme(tf.argmax),
    "Argmin": _extreme(tf.argmin),
    "ArraySplit": _split,
    "Clip": _clip,
    "Divide": _each(tf.divide),
    "Flip": _flip,
    "GetItem": _item,
    "Matmul": _matmul,
    "Max": _reduced(tf.reduce_max),
    "Mean": _reduced(tf.reduce_mean),
    "Median": _quantile,
    "Pad": _pad,
    "Quantile": _quantile,
    "Split": _split,
    "Square": _each(tf.square),
    "Stack": _stack,
    "Std": _reduced(tf.math.reduce_std),
    "Sum": _reduced(tf.reduce_sum),
    "Take": _take,
    "TrueDivide": _each(tf.divide),
    "Unstack": _unstack,
    "Var": _reduced(tf.math.reduce_variance),
}
