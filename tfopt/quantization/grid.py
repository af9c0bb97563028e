"""The grid that a file's weights stand on: which integers, and which weights share a scale."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

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
