"""Convolutions of volumes as convolutions of images.

A convolution over depth reads, for each slice it writes, a few slices of its input. Put side by
side as channels, they are an image, and the kernel's slices put side by side its kernel: one
convolution with the same products and the same 32-bit sums, rounded once, as the 8-bit kernel for
volumes would that TensorFlow Lite lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfopt.tflite.rewrites.call import Call, constant, source
from tfopt.tflite.rewrites.shapes import sizes


def convolution(call: Call) -> tf.Tensor | None:
    """Conv3D: the slices of depth that a slice of the output reads, stacked as channels."""
    x, kernel = call.inputs
    strides = call.integers("strides")[1:4]
    dilations = call.integers("dilations")[1:4] or [1, 1, 1]
    if call.text("data_format") not in ("", "NDHWC"):
        return None
    return convolve(x, kernel, strides, call.text("padding"), dilations)


def convolve(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int],
) -> tf.Tensor | None:
    """Convolves volumes (batch, depth, height, width, channels); None if their size is open.

    Args:
        x: The volumes.
        kernel: Of shape (depth, height, width, channels of a group, filters).
        strides: Of depth, height and width.
        padding: `"SAME"` or `"VALID"`.
        dilations: Of depth, height and width.
    """
    if None in x.shape[1:] or not kernel.shape.is_fully_defined():
        return None
    taps, high, wide, channels, filters = kernel.shape
    depth, *image = x.shape[1:]
    groups = image[-1] // channels
    if groups > 1:
        parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
        return tf.concat([convolve(a, b, strides, padding, dilations) for a, b in parts], -1)
    before, after, size = _padded(depth, taps, strides[0], padding, dilations[0])
    x = _pad_depth(x, before, after)
    slices = [
        x[:, tap * dilations[0] : tap * dilations[0] + (size - 1) * strides[0] + 1 : strides[0]]
        for tap in range(taps)
    ]
    stacked = slices[0] if taps == 1 else tf.concat(slices, -1)
    images = tf.reshape(stacked, (-1, *image[:-1], taps * channels))
    flat = tf.reshape(tf.transpose(kernel, (1, 2, 0, 3, 4)), (high, wide, taps * channels, filters))
    made = tf.nn.conv2d(images, flat, list(strides[1:]), padding, dilations=list(dilations[1:]))
    return tf.reshape(made, (-1, size, *made.shape[1:]))


def transposed(call: Call) -> tf.Tensor | None:
    """Conv3DTranspose: zeros between the slices of depth, then the kernel upside down over them."""
    shape_tensor, kernel, x = call.inputs
    strides, padding = call.integers("strides")[1:4], call.text("padding")
    shape = sizes(shape_tensor)
    dilated = any(size != 1 for size in call.integers("dilations"))
    if not shape or None in shape[1:] or None in x.shape[1:] or dilated:
        return None
    if call.text("data_format") not in ("", "NDHWC") or not kernel.shape.is_fully_defined():
        return None
    taps, high, wide, filters, channels = kernel.shape
    size, *area = (length or 0 for length in shape[1:-1])
    depth, *image = x.shape[1:]
    cut = _padded(size, taps, strides[0], padding, 1)[0]
    x = _spread(x, strides[0])
    length = depth * strides[0]
    before, after = taps - 1 - cut, size - length + cut
    x = x[:, : length + after] if after < 0 else x
    x = _pad_depth(x, before, max(after, 0))
    slices = [x[:, tap : tap + size] for tap in range(taps)]
    images = tf.reshape(
        slices[0] if taps == 1 else tf.concat(slices, -1), (-1, *image[:-1], taps * channels)
    )
    flat = tf.reshape(
        tf.transpose(tf.reverse(kernel, [0]), (1, 2, 3, 0, 4)),
        (high, wide, filters, taps * channels),
    )
    count = tf.shape(images)[0]
    made = tf.nn.conv2d_transpose(images, flat, (count, *area, filters), list(strides[1:]), padding)
    return tf.reshape(made, (-1, size, *area, filters))


def add_bias(call: Call) -> tf.Tensor | None:
    """A bias on volumes that were images: on the images, where it becomes part of the op."""
    x, bias = call.inputs
    made = source(x)
    if x.shape.rank != 5 or made.type != "Reshape" or made.inputs[0].shape.rank != 4:
        return None
    images, shape = made.inputs
    if call.text("data_format") not in ("", "NHWC") or constant(shape) is None:
        return None
    return tf.reshape(tf.nn.bias_add(images, bias), shape)


def _padded(size: int, taps: int, stride: int, padding: str, dilation: int) -> tuple[int, int, int]:
    """The zeros in front and behind, and the size of the output, of one dimension."""
    reach = (taps - 1) * dilation + 1
    if padding == "VALID":
        return 0, 0, -(-(size - reach + 1) // stride)
    made = -(-size // stride)
    total = max((made - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2, made


def _pad_depth(x: tf.Tensor, before: int, after: int) -> tf.Tensor:
    if not before and not after:
        return x
    return tf.pad(x, [(0, 0), (before, after), (0, 0), (0, 0), (0, 0)])


def _spread(x: tf.Tensor, stride: int) -> tf.Tensor:
    """Puts `stride` - 1 slices of zeros behind each slice of depth."""
    if stride == 1:
        return x
    depth, high, wide, channels = x.shape[1:]
    rows = tf.reshape(x, (-1, depth, 1, high * wide * channels))
    spread = tf.pad(rows, [(0, 0), (0, 0), (0, stride - 1), (0, 0)])
    return tf.reshape(spread, (-1, depth * stride, high, wide, channels))
