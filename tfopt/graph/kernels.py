"""Where the channels of a layer's input and output lie in its kernels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfopt.graph.calls import Layer
from tfopt.keras_gate import tf_keras

_layers = tf_keras.layers

# By layer: the weight that makes the output channels, and the axes they lie along.
OUTPUT_AXES: dict[type, tuple[str, tuple[int, ...]]] = {
    _layers.Dense: ("kernel", (1,)),
    _layers.Conv1D: ("kernel", (2,)),
    _layers.Conv2D: ("kernel", (3,)),
    _layers.Conv1DTranspose: ("kernel", (1,)),
    _layers.Conv2DTranspose: ("kernel", (2,)),
    _layers.DepthwiseConv1D: ("depthwise_kernel", (1, 2)),
    _layers.DepthwiseConv2D: ("depthwise_kernel", (2, 3)),
    _layers.SeparableConv1D: ("pointwise_kernel", (2,)),
    _layers.SeparableConv2D: ("pointwise_kernel", (3,)),
}
# Likewise, the weight that reads the input channels.
_INPUT_AXES: dict[type, tuple[str, tuple[int, ...]]] = {
    _layers.Dense: ("kernel", (0,)),
    _layers.Conv1D: ("kernel", (1,)),
    _layers.Conv2D: ("kernel", (2,)),
    _layers.Conv1DTranspose: ("kernel", (2,)),
    _layers.Conv2DTranspose: ("kernel", (3,)),
    _layers.DepthwiseConv1D: ("depthwise_kernel", (1,)),
    _layers.DepthwiseConv2D: ("depthwise_kernel", (2,)),
    _layers.SeparableConv1D: ("depthwise_kernel", (1,)),
    _layers.SeparableConv2D: ("depthwise_kernel", (2,)),
}
_SEPARABLE = (_layers.SeparableConv1D, _layers.SeparableConv2D)


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a kernel: the channels it makes, or those it reads.

    Args:
        layer: The layer that has the kernel, built.
        weight: The attribute that holds it.
        axes: The axes the channels lie along.
        groups: Parts of the output channels that each read a part of the input channels.
        biased: Whether the channels get the layer's bias.
    """

    layer: Layer
    weight: str
    axes: tuple[int, ...]
    groups: int = 1
    biased: bool = False

    @property
    def channels(self) -> int:
        """How many there are."""
        shape = getattr(self.layer, self.weight).shape
        return self.groups * math.prod(shape[axis] for axis in self.axes)

    def magnitudes(self, kernel: np.ndarray) -> np.ndarray:
        """Returns the largest magnitude of the weights of each channel.

        Args:
            kernel: Weights shaped like the kernel.

        Example:
            >>> dense = tf_keras.layers.Dense(2)
            >>> dense.build((None, 3))
            >>> kernel = np.array([[1.0, -2.0], [3.0, 0.0], [0.5, 0.0]])
            >>> made_by(dense).magnitudes(kernel), read_by(dense).magnitudes(kernel)
            (array([3., 2.]), array([2. , 3. , 0.5]))
        """
        others = tuple(axis for axis in range(kernel.ndim) if axis not in self.axes)
        if self.groups == 1:
            return np.abs(kernel).max(axis=others).reshape(-1)
        by_group = np.abs(kernel).max(axis=others[:-1])
        return by_group.reshape(len(by_group), self.groups, -1).max(axis=2).T.reshape(-1)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Returns one value for each channel, shaped to multiply the kernel.

        Args:
            values: (channels,).

        Example:
            >>> layer = tf_keras.layers.DepthwiseConv2D(3, depth_multiplier=2)
            >>> layer.build((None, 8, 8, 4))
            >>> made_by(layer).spread(np.ones(8)).shape, read_by(layer).spread(np.ones(4)).shape
            ((1, 1, 4, 2), (1, 1, 4, 1))
        """
        shape = getattr(self.layer, self.weight).shape
        if self.groups > 1:
            columns = values.reshape(self.groups, -1).T
            columns = np.repeat(columns, shape[-1] // self.groups, axis=1)
            return columns.reshape((1,) * (len(shape) - 2) + columns.shape)
        return values.reshape([size if axis in self.axes else 1 for axis, size in enumerate(shape)])


def made_by(layer: Layer) -> Side:
    """Returns the side of a layer's output channels.

    Args:
        layer: A layer of `OUTPUT_AXES`, built.
    """
    weight, axes = OUTPUT_AXES[type(layer)]
    return Side(layer, weight, axes, biased=layer.use_bias)


def read_by(layer: Layer) -> Side:
    """Returns the side of a layer's input channels.

    Args:
        layer: A layer of `OUTPUT_AXES`, built.
    """
    weight, axes = _INPUT_AXES[type(layer)]
    grouped = weight == "kernel" and hasattr(layer, "groups")
    return Side(layer, weight, axes, groups=layer.groups if grouped else 1)


def inner_sides(layer: Layer) -> tuple[Side, Side] | None:
    """Returns the sides between the two kernels of a separable convolution, None for others."""
    if not isinstance(layer, _SEPARABLE):
        return None
    axis = OUTPUT_AXES[type(layer)][1][0]
    makes = Side(layer, "depthwise_kernel", (axis - 1, axis))
    return makes, Side(layer, "pointwise_kernel", (axis - 1,))


def activation_name(layer: Layer) -> str:
    """Returns the name of a layer's activation function, `linear` for none."""
    activation = getattr(layer, "activation", None) or tf_keras.activations.linear
    return getattr(activation, "__name__", type(activation).__name__)


def constraint_of(weights: Iterable[Any]) -> str | None:
    """Returns the name of what keeps weights in bounds after each training step, None for nothing.

    Args:
        weights: Those of a layer, of which the first constraint counts.

    Example:
        >>> dense = tf_keras.layers.Dense(2, kernel_constraint="non_neg")
        >>> dense.build((None, 3))
        >>> constraint_of(dense.weights), constraint_of([dense.bias])
        ('NonNeg', None)
    """
    found = [weight.constraint for weight in weights if weight.constraint is not None]
    return getattr(found[0], "__name__", type(found[0]).__name__) if found else None


def channels_last(layer: Layer) -> bool:
    """Returns whether a layer's channels are the last axis of its input and output."""
    return getattr(layer, "data_format", None) in (None, "channels_last")


def through(layer: Layer, values: np.ndarray, kernels: dict[str, np.ndarray]) -> np.ndarray:
    """Returns what a layer makes of channels that have one value everywhere, without its bias.

    Of a transposed convolution, the average over the positions.

    Args:
        layer: A layer of `OUTPUT_AXES`, built.
        values: (input channels,).
        kernels: The weights to compute with, by the attribute that holds them.

    Returns:
        (output channels,).

    Example:
        >>> dense = tf_keras.layers.Dense(2)
        >>> dense.build((None, 3))
        >>> kernel = np.array([[1.0, -2.0], [3.0, 0.0], [0.5, 0.0]])
        >>> through(dense, np.array([1.0, 0.0, 2.0]), {"kernel": kernel})
        array([ 2., -2.])
    """
    between = inner_sides(layer)
    steps = [(read_by(layer), made_by(layer))]
    if between is not None:
        steps = [(read_by(layer), between[0]), (between[1], made_by(layer))]
    for reads, makes in steps:
        product = kernels[reads.weight] * reads.spread(values)
        summed = tuple(axis for axis in range(product.ndim) if axis not in makes.axes)
        values = product.sum(axis=summed).reshape(-1)
    if isinstance(layer, (_layers.Conv1DTranspose, _layers.Conv2DTranspose)):
        values = values / math.prod(layer.strides)
    return values
