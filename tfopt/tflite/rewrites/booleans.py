"""Bytes, and true and false, as numbers, and comparisons, by ops that have an 8-bit kernel."""

from __future__ import annotations

import tensorflow as tf

from tfopt.tflite.rewrites.call import Call, source


def cast(call: Call) -> tf.Tensor | None:
    """1 where true and 0 where not, of booleans; of an input that was made bytes, the input."""
    (x,) = call.inputs
    if call.attributes["DstT"].type != tf.float32.as_datatype_enum:
        return None
    if x.dtype == tf.bool:
        return tf.where(x, 1.0, 0.0)
    made = source(x)
    if x.dtype == tf.uint8 and made.type == "Cast" and source(made.inputs[0]).type == "Placeholder":
        return made.inputs[0]  # TensorFlow Lite casts bytes in floating point only
    return None


def not_equal(call: Call) -> tf.Tensor | None:
    """|x - y| > 0, of real numbers; the opposite of equal would be merged into the op again."""
    x, y = call.inputs
    return tf.abs(x - y) > 0.0 if call.is_float else None
