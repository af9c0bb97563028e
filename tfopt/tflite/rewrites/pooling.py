"""Pooling of volumes as two poolings of images: over height and width, then over depth."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfopt.tflite.rewrites.call import Call


def largest(call: Call) -> tf.Tensor | None:
    """MaxPool3D: the largest of a box is the largest of its slices' largest."""
    return _pooled(call, tf.nn.max_pool2d)


def average(call: Call) -> tf.Tensor | None:
    """AvgPool3D: the average of a box is the average of its slices' averages, at edges too."""
    return _pooled(call, tf.nn.avg_pool2d)


def _pooled(call: Call, pool: Callable[..., tf.Tensor]) -> tf.Tensor | None:
    (x,) = call.inputs
    (deep, *window), (step, *steps) = call.integers("ksize")[1:4], call.integers("strides")[1:4]
    padding = call.text("padding")
    if None in x.shape[1:] or call.text("data_format") not in ("", "NDHWC"):
        return None
    depth, high, wide, channels = x.shape[1:]
    flat = pool(tf.reshape(x, (-1, high, wide, channels)), window, steps, padding)
    high, wide = flat.shape[1:3]
    rows = tf.reshape(flat, (-1, depth, high * wide, channels))
    if deep > 1 or step > 1:
        rows = pool(rows, (deep, 1), (step, 1), padding)
    return tf.reshape(rows, (-1, rows.shape[1], high, wide, channels))
