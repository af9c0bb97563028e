"""The grid that a file's weights stand on: which integers, and which weights share a scale."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf
from tf_keras.src.layers.rnn.base_conv_lstm import ConvLSTMCell

from tfopt.keras_gate import tf_keras

# The layers whose kernels are fake-quantized; along these axes, the output channels, a kernel has
# many scales in the file.
CHANNEL_AXES: dict[type, dict[str, tuple[int, ...]]] = {
    tf_keras.layers.Dense: {"kernel": (1,)},
    tf_keras.layers.Conv1D: {"kernel": (2,)},
    tf_keras.layers.Conv2D: {"kernel": (3,)},
    tf_keras.layers.Conv1DTranspose: {"kernel": (1,)},
    tf_keras.layers.Conv2DTranspose: {"kernel": (2,)},
    tf_keras.layers.DepthwiseConv1D: {"depthwise_kernel": (1, 2)},
    tf_keras.layers.DepthwiseConv2D: {"depthwise_kernel": (2, 3)},
    tf_keras.layers.SeparableConv1D: {"depthwise_kernel": (1, 2), "pointwise_kernel": (2,)},
    tf_keras.layers.SeparableConv2D: {"depthwise_kernel": (2, 3), "pointwise_kernel": (3,)},
}


_layers = tf_keras.layers
# The cells of recurrent layers, which the file repeats for each step: the last axis of a
# kernel is that of the channels.
_CELLS = (_layers.SimpleRNNCell, _layers.GRUCell, _layers.LSTMCell, ConvLSTMCell)
_LSTM_GATES = 4


@dataclasses.dataclass(frozen=True)
class Grid:
    """Which weights of a kernel share a scale.

    Args:
        channel_axes: The axes along which scales differ.
        gates: Into how many parts the last axis is divided, each of one scale, instead; 0 for none.
        bits: Of a weight in the file.
    """

    channel_axes: tuple[int, ...]
    gates: int = 0
    bits: int = 8

    def rounded(self, kernel: Any) -> tf.Tensor:
        """Returns a kernel on the grid."""
        if not self.gates:
            return round_kernel(kernel, self.channel_axes, bits=self.bits)
        parts = tf.reshape(kernel, [*kernel.shape[:-1], self.gates, -1])
        rounded = round_kernel(parts, (parts.shape.rank - 2,), bits=self.bits)
        return tf.reshape(rounded, kernel.shape)


def inner_grids(layer: Any, *, lstm_ops: bool, bits: int = 8) -> dict[int, Grid]:
    """Returns the grids of the kernels of the layers that a layer is made of.

    These are cells of recurrent layers, projections of MultiHeadAttention, the layer in a
    TimeDistributed, and an EinsumDense itself. (An Embedding's rows stand on the grid of its
    output: rounding that rounds them.)

    Args:
        layer: A built layer.
        lstm_ops: Whether the file has LSTMs as one operation, in which each gate has one scale, and
            weights have 8 bits.
        bits: Of a weight of the other operations.

    Returns:
        The grids by the `id` of the variable. A kernel whose grid is not known is left out.

    Example:
        >>> cell = tf_keras.layers.GRUCell(4)
        >>> cell.build((None, 3))
        >>> inner_grids(cell, lstm_ops=False)[id(cell.kernel)]
        Grid(channel_axes=(1,), gates=0, bits=8)
    """
    grids: dict[int, Grid] = {}
    for part in layer._flatten_layers():
        found = CHANNEL_AXES.get(type(part), {}) if part is not layer else {}
        if type(part) in _CELLS:
            last = (part.kernel.shape.rank - 1,)
            found = {"kernel": last, "recurrent_kernel": last}
        elif type(part) is _layers.EinsumDense:
            axes = einsum_channels(part.equation)
            found = {"kernel": axes} if axes else {}
        gates = _LSTM_GATES if lstm_ops and type(part) is _layers.LSTMCell else 0
        for name, axes in found.items():
            grids[id(getattr(part, name))] = Grid(axes, gates, 8 if gates else bits)
    return grids


def einsum_channels(equation: str) -> tuple[int, ...]:
    """Returns the axes of the output channels of an EinsumDense's kernel.

    Args:
        equation: As the layer has it.

    Returns:
        Axes; () where the kernel is more than a matrix, which the file would round in another way.

    Example:
        >>> einsum_channels("abc,cde->abde"), einsum_channels("abc,bcd->abd")
        ((1, 2), ())
    """
    operands, result = equation.replace("...", "").replace(" ", "").split("->")
    inputs, kernel = operands.split(",")
    if set(kernel) & set(inputs) & set(result):
        return ()
    return tuple(axis for axis, letter in enumerate(kernel) if letter in result)


def largest_integer(bits: int) -> int:
    """Returns the largest integer of a weight: symmetric, without the one more below zero.

    Example:
        >>> largest_integer(8), largest_integer(4)
        (127, 7)
    """
    return 2 ** (bits - 1) - 1


def kernel_scale(kernel: Any, channel_axes: tuple[int, ...], *, bits: int = 8) -> tf.Tensor:
    """Returns what one step of the grid is worth in each output channel, as the file will have it.

    Args:
        kernel: Weights of any shape.
        channel_axes: The axes of the output channels; () for one scale for the whole kernel.
        bits: Of a weight in the file.

    Returns:
        Scales, of the kernel's rank, with size 1 along the other axes. Zero for a channel of zeros.

    Example:
        >>> kernel_scale([[12.7, 0.26], [-2.02, 127.0]], (1,)).numpy()
        array([[0.1, 1. ]], dtype=float32)
    """
    kernel = tf.convert_to_tensor(kernel)
    within = [axis for axis in range(kernel.shape.rank) if axis not in channel_axes]
    return tf.reduce_max(tf.abs(kernel), axis=within, keepdims=True) / largest_integer(bits)


def round_kernel(kernel: Any, channel_axes: tuple[int, ...], *, bits: int = 8) -> tf.Tensor:
    """Rounds a kernel to integers times a scale, and lets gradients through as if it had not.

    The largest magnitude of each output channel becomes the largest integer. The converter rounds
    the same way, and folding a batch norm into a kernel only multiplies its channels' scales: so
    training sees the integers of the file. (TF-MOT states the scales in the graph instead, which
    the converter understands on few layers, and a depthwise kernel gets a single one.)

    Args:
        kernel: Weights of any shape.
        channel_axes: The axes of the output channels; () rounds the whole kernel with one scale.
        bits: Of a weight in the file.

    Returns:
        Weights of the same shape.

    Example:
        >>> round_kernel([[12.7, 0.26], [-2.02, 127.0]], (1,)).numpy().round(3)
        array([[ 12.7,   0. ],
               [ -2. , 127. ]], dtype=float32)

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, 2018, section 3 (equation 12); Krishnamoorthi,
        Quantizing deep convolutional networks for efficient inference, 2018, section 2.4.
    """
    kernel = tf.convert_to_tensor(kernel)
    scale = kernel_scale(kernel, channel_axes, bits=bits)
    rounded = tf.round(tf.math.divide_no_nan(kernel, scale)) * scale
    return kernel + tf.stop_gradient(rounded - kernel)
