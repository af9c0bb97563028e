"""What is known of the sizes that a model computes of the shapes of tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfopt.tflite.rewrites.call import Call, constant, single, source

_ARITHMETIC: Mapping[str, Callable[[int, int], int]] = {
    "AddV2": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Maximum": max,
}

Sizes = list[int | None]
"""None for a size that depends on the input."""


def reshape(call: Call) -> tf.Tensor | None:
    """A reshape to sizes that are known but for one, which is what is left.

    A file would compute them in each run: nine ops for a dense layer over a sequence.
    """
    x, shape = call.inputs
    known = sizes(shape)
    if constant(shape) is not None or not known or 0 in known:
        return None
    if -1 in known and None not in x.shape[1:] and _keeps_the_batch(x, shape):
        others = [size for size in known[1:] if size not in (None, -1)]
        left = int(np.prod(x.shape[1:])) // int(np.prod(others))
        known = [None, *(left if size == -1 else size for size in known[1:])]
    if known.count(None) + known.count(-1) > 1:
        return None
    return tf.reshape(x, [-1 if size is None else size for size in known])


def _keeps_the_batch(x: tf.Tensor, shape: tf.Tensor) -> bool:
    """Whether the first of the sizes to come is the first size of the tensor itself."""
    made = source(shape)
    first = source(made.inputs[0]) if made.type == "Pack" else made
    if first.type != "StridedSlice" or single(first.inputs[1]) != 0:
        return False
    of = source(first.inputs[0])
    return of.type == "Shape" and source(of.inputs[0]) is source(x)


def sizes(tensor: tf.Tensor) -> Sizes:
    """Returns what is known of a list of sizes; empty if nothing, not even how many they are."""
    made = source(tensor)
    if made.type == "Pack":
        return [_size(each) for each in made.inputs]
    if made.type == "Shape":
        shape = made.inputs[0].shape
        return list(shape) if shape.rank is not None else []
    if made.type == "ConcatV2":
        parts = [sizes(each) for each in made.inputs[:-1]]
        return [size for part in parts for size in part] if all(parts) else []
    if made.type == "GatherV2":
        return _gathered(made)
    if made.type == "StridedSlice":
        return _sliced(made)
    value = constant(tensor)
    return [] if value is None or value.ndim != 1 else [int(size) for size in value]


def _size(tensor: tf.Tensor) -> int | None:
    """One size, as `sizes` tells several."""
    value = single(tensor)
    if value is not None:
        return int(value)
    made = source(tensor)
    if made.type == "StridedSlice":
        index, every = single(made.inputs[1]), sizes(made.inputs[0])
        within = index is not None and -len(every) <= index < len(every)
        return every[int(index)] if within and index is not None else None
    if made.type == "Prod":
        factors = sizes(made.inputs[0])
        known = [size for size in factors if size is not None]
        return int(np.prod(known)) if factors and len(known) == len(factors) else None
    if made.type in _ARITHMETIC:
        left, right = map(_size, made.inputs)
        return None if left is None or right is None else _ARITHMETIC[made.type](left, right)
    return None


def _gathered(made: tf.Operation) -> Sizes:
    every, chosen = sizes(made.inputs[0]), constant(made.inputs[1])
    if chosen is None or chosen.ndim != 1 or not every:
        return []
    return [every[index] if -len(every) <= index < len(every) else None for index in chosen]


def _sliced(made: tf.Operation) -> Sizes:
    """The sizes from one place to another, as `shape[1:3]`."""
    every = sizes(made.inputs[0])
    ends = [single(end) for end in made.inputs[1:]]
    masks = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    if not every or None in ends or any(made.get_attr(mask) for mask in masks):
        return []
    begin, end, step = (int(end) for end in ends if end is not None)
    first = None if made.get_attr("begin_mask") else begin
    last = None if made.get_attr("end_mask") else end
    return every[first:last:step]
