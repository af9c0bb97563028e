"""A layer with a kernel as rows of inputs times a matrix, whatever kind it is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.graph.calls import Layer
from tfopt.keras_gate import tf_keras

_layers = tf_keras.layers
_CONVOLUTIONS = (_layers.Conv1D, _layers.Conv2D)
_DEPTHWISE = (_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)
TRANSPOSED = (_layers.Conv1DTranspose, _layers.Conv2DTranspose)
"""Convolutions of which no interpreter has a kernel for 4-bit weights."""
FOUR_BIT_KINDS = (_layers.Dense, *_CONVOLUTIONS, *_DEPTHWISE)
"""Layers whose ops an interpreter can run on 4-bit weights."""
KINDS = (*FOUR_BIT_KINDS, *TRANSPOSED)
"""Layers that are a product with a matrix."""


@dataclasses.dataclass(frozen=True)
class Linear:
    """What a layer multiplies: at each place of its output, a row of inputs with a matrix.

    The output channels fall into groups that read inputs of their own: one group for most layers,
    one for each input channel for depthwise ones.

    Args:
        layer: A built layer, one of `KINDS`, its channels last.

    Example:
        >>> layer = tf_keras.layers.Conv2D(6, 3, padding="same", strides=2)
        >>> image = tf.random.stateless_normal((2, 8, 8, 4), (0, 1))
        >>> output, linear = layer(image), Linear(layer)
        >>> rows = linear.rows(image, tf.constant([0, 5]))
        >>> rows.shape, linear.matrix(linear.kernel.numpy()).shape
        (TensorShape([1, 4, 36]), (1, 36, 6))
        >>> made = tf.matmul(rows, linear.matrix(linear.kernel.numpy()))
        >>> bool(np.allclose(made[0, :2], [output[0, 0, 0], output[0, 1, 1]], atol=1e-5))
        True
    """

    layer: Layer

    @property
    def attribute(self) -> str:
        """Where the layer keeps its kernel."""
        return "depthwise_kernel" if self._depthwise else "kernel"

    @property
    def kernel(self) -> tf.Variable:
        """The layer's kernel."""
        return getattr(self.layer, self.attribute)

    @property
    def bias(self) -> np.ndarray:
        """The layer's bias, (groups, 1, outputs); zeros if it has none."""
        groups, _, outputs = self.matrix(self.kernel.numpy()).shape
        if not self.layer.use_bias:
            return np.zeros((groups, 1, outputs), np.float32)
        return self.layer.bias.numpy().reshape(groups, 1, outputs)

    @property
    def fan_in(self) -> int:
        """Inputs of a group."""
        height, width, inputs, outputs = self._shape
        inputs = outputs if self._transposed else 1 if self._depthwise else inputs
        return height * width * inputs

    def matrix(self, kernel: np.ndarray) -> np.ndarray:
        """A kernel as matrices, (groups, inputs, outputs)."""
        if self._transposed:
            height, width, outputs, inputs = self._shape
            flipped = kernel.reshape(self._shape)[::-1, ::-1].transpose(0, 1, 3, 2)
            return flipped.reshape(1, height * width * inputs, outputs)
        return kernel.reshape(-1, self._groups, self._outputs).transpose(1, 0, 2)

    def as_kernel(self, matrix: Any) -> tf.Tensor:
        """Matrices as a kernel: what `matrix` undoes."""
        shape = self.kernel.shape
        if self._transposed:
            height, width, outputs, inputs = self._shape
            flipped = tf.reshape(matrix, [height, width, inputs, outputs])
            return tf.reshape(tf.transpose(flipped[::-1, ::-1], [0, 1, 3, 2]), shape)
        return tf.reshape(tf.transpose(matrix, [1, 0, 2]), shape)

    def places(self, inputs: tf.Tensor) -> tf.Tensor:
        """The number of places in the output for one sample."""
        _, height, width = self._padded(inputs)
        return height * width

    def rows(self, inputs: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """The inputs that are multiplied at some places of the output.

        Args:
            inputs: What the layer is called with, (samples, ..., channels).
            places: Indexes below `self.places(inputs)`, (n,).

        Returns:
            (groups, samples * n, inputs of a group).
        """
        image, _, width = self._padded(inputs)
        (down, right), (rate_down, rate_right) = self._strides, self._rates
        top, left = places // width * down, places % width * right
        rows = top[:, None] + rate_down * np.repeat(np.arange(self._shape[0]), self._shape[1])
        columns = left[:, None] + rate_right * np.tile(np.arange(self._shape[1]), self._shape[0])
        size = tf.shape(image)
        pixels = tf.reshape(image, [size[0], size[1] * size[2], image.shape[-1]])
        windows = tf.gather(pixels, rows * size[2] + columns, axis=1)
        window, channels = windows.shape[-2:]
        groups = self._groups
        parted = tf.reshape(windows, [-1, window, groups, channels // groups])
        return tf.reshape(
            tf.transpose(parted, [2, 0, 1, 3]), [groups, -1, window * (channels // groups)]
        )

    @property
    def _depthwise(self) -> bool:
        return isinstance(self.layer, _DEPTHWISE)

    @property
    def _transposed(self) -> bool:
        return isinstance(self.layer, TRANSPOSED)

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        """The kernel's shape as that of a two-dimensional convolution."""
        shape = tuple(self.kernel.shape)
        return (1,) * (4 - len(shape)) + shape

    @property
    def _groups(self) -> int:
        return self._shape[2] if self._depthwise else getattr(self.layer, "groups", 1)

    @property
    def _outputs(self) -> int:
        """Output channels of a group."""
        return self._shape[3] // (1 if self._depthwise else self._groups)

    @property
    def _strides(self) -> tuple[int, int]:
        """From one place of the output to the next; a transposed layer's inputs are spread out."""
        return (1, 1) if self._transposed else _pair(getattr(self.layer, "strides", (1,)))

    @property
    def _rates(self) -> tuple[int, int]:
        return _pair(getattr(self.layer, "dilation_rate", (1,)))

    def _padded(self, inputs: Any) -> tuple[tf.Tensor, Any, Any]:
        """The image that windows are cut from, and how many lie below and beside each other."""
        image = tf.convert_to_tensor(inputs)
        channels = image.shape[-1]
        if isinstance(self.layer, _layers.Dense):
            image = tf.reshape(image, [tf.shape(image)[0], 1, -1, channels])
        elif image.shape.rank == 3:
            image = image[:, None]
        if self._transposed:
            return self._spread(image)
        sizes = tf.unstack(tf.shape(image)[1:3])
        reach = [(k - 1) * rate for k, rate in zip(self._shape, self._rates, strict=False)]
        padding = getattr(self.layer, "padding", "valid")
        steps = zip(sizes, reach, self._strides, strict=True)
        sides = [_padding(padding, size, back, stride) for size, back, stride in steps]
        image = tf.pad(image, [[0, 0], *sides, [0, 0]])
        counts = zip(tf.unstack(tf.shape(image)[1:3]), reach, self._strides, strict=True)
        down, across = ((size - back - 1) // stride + 1 for size, back, stride in counts)
        return image, down, across

    def _spread(self, image: tf.Tensor) -> tuple[tf.Tensor, Any, Any]:
        """The image of a transposed layer: zeros between its pixels and around them."""
        strides, channels = _pair(self.layer.strides), image.shape[-1]
        height, width = tf.unstack(tf.shape(image)[1:3])
        for axis, stride in enumerate(strides):
            gaps = [[0, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
            gaps[axis + 2] = [0, stride - 1]
            spread = tf.pad(tf.expand_dims(image, axis + 2), gaps)
            shape = [-1, height * strides[0], width * (strides[1] if axis else 1), channels]
            image = tf.reshape(spread, shape)
        sides, counts = [], []
        same = self.layer.padding == "same"
        for size, k, rate, stride in zip(
            (height, width), self._shape, self._rates, strides, strict=False
        ):
            k = (k - 1) * rate + 1
            out = size * stride if same else (size - 1) * stride + max(k, stride)
            before = k - 1 - (max(k - stride, 0) // 2 if same else 0)
            sides.append([before, tf.maximum(out + k - 1 - before - size * stride, 0)])
            counts.append(out)
        return tf.pad(image, [[0, 0], *sides, [0, 0]]), *counts


def _pair(values: Any) -> tuple[int, int]:
    """A setting of two axes; in one dimension the first axis has a single row."""
    values = tuple(values)
    return (1, values[0]) if len(values) == 1 else values


def _padding(padding: str, size: Any, reach: int, stride: int) -> list[Any]:
    """How many zeros go before and behind an axis."""
    if padding == "causal":
        return [reach, 0] if reach else [0, 0]
    if padding == "valid":
        return [0, 0]
    total = tf.maximum((size - 1) // stride * stride + reach + 1 - size, 0)
    return [total // 2, total - total // 2]
