"""The sizes of a model's tensors, those it leaves open too: an image's, a sequence's length."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.graph.calls import KerasTensor, nodes, outputs
from tfopt.keras_gate import tf_keras

# Stand for a size that is left open: the first that the model computes with. A table may have few
# rows (16), and raw sound is long, but no image is that large.
_NOMINAL = (64, 256, 16, 4096)
_MOST_NUMBERS = 2**20


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The shapes that tensors of a model have in a run.

    Args:
        inputs: Of the model's inputs, without the number of samples.
        tensors: Of all tensors, by their ids; empty where the model says them itself.
    """

    inputs: tuple[tuple[int, ...], ...]
    tensors: Mapping[int, tuple[int, ...]]

    def inner(self, tensor: KerasTensor) -> tuple[int, ...]:
        """The sizes between samples and channels: height and width of an image; () for a row."""
        known = tensor.shape.as_list() if tensor.shape.rank else ()
        shape = self.tensors.get(id(tensor), known)
        return tuple(size or 1 for size in shape[1:-1])

    def places(self, tensor: KerasTensor) -> int:
        """How many places of a sample have channels: the pixels of an image; 1 for a row."""
        return math.prod(self.inner(tensor))


def nominal_sizes(model: tf_keras.Model) -> Sizes:
    """Returns the shapes of a model's tensors where each size it leaves open is 64.

    If it cannot compute with 64, the size is the first of 256, 16 and 4096 with which it can; if
    that is none, sizes inside of it count as 1. A model that leaves none open is not run.

    Args:
        model: A functional model.

    Example:
        >>> layers = [tf_keras.Input((None, None, 3)), tf_keras.layers.Conv2D(4, 3)]
        >>> model = tf_keras.Sequential(layers)
        >>> nominal_sizes(model).inputs, nominal_sizes(model).places(model.output)
        (((64, 64, 3),), 3844)
    """
    choices = dict.fromkeys(_choices(model))
    for inputs in choices:
        zeros = [
            np.zeros([tensor.shape[0] or 1, *shape], tensor.dtype.as_numpy_dtype)
            for tensor, shape in zip(model.inputs, inputs, strict=True)
        ]
        try:
            sizes = sizes_of(model, zeros)
        except Exception:  # whatever a layer says to sizes that do not suit it
            continue
        if all(0 not in shape for shape in sizes.tensors.values()):
            return sizes
    return Sizes(next(iter(choices)), {})


def sizes_of(model: tf_keras.Model, inputs: Sequence[Any]) -> Sizes:
    """Returns the shapes of a model's tensors for some samples. It is run if it leaves any open.

    Args:
        model: A functional model.
        inputs: An array for each input, in the model's order; one sample is enough.

    Example:
        >>> layers = [tf_keras.Input((None, 3)), tf_keras.layers.Conv1D(4, 5, name="conv")]
        >>> model = tf_keras.Sequential(layers)
        >>> sizes_of(model, [np.zeros((1, 50, 3))]).inner(model.output)
        (46,)
    """
    shapes = tuple(tuple(array.shape[1:]) for array in inputs)
    tensors = [tensor for node in nodes(model) for tensor in outputs(node)]
    if not any(tensor.shape.rank is None or None in tensor.shape[1:] for tensor in tensors):
        return Sizes(shapes, {})
    values = tf.nest.flatten(tf_keras.Model(model.inputs, tensors)(list(inputs), training=False))
    found = zip(map(id, tensors), values, strict=True)
    return Sizes(shapes, {tensor: tuple(value.shape) for tensor, value in found})


def _choices(model: tf_keras.Model) -> Iterator[tuple[tuple[int, ...], ...]]:
    """The shapes of the inputs for each size that may stand for those left open."""
    for nominal in _NOMINAL:
        shapes = [tuple(size or nominal for size in tensor.shape[1:]) for tensor in model.inputs]
        if nominal == _NOMINAL[0] or sum(map(math.prod, shapes)) <= _MOST_NUMBERS:
            yield tuple(shapes)
