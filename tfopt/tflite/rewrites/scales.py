"""A scale of its own for a recurrent layer's output, which the next step reads as its state."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfopt.tflite.rewrites.call import Call, source

_ALMOST_ONE = float(np.nextafter(np.float32(1), np.float32(0)))  # 1 itself would be dropped
_HANDING_ON = {"Reshape", "ReverseV2", "Squeeze", "ExpandDims", "StridedSlice", "Transpose"}
_RECURRENT = {"PartitionedCall", "StatefulPartitionedCall", "Pack"}  # whole, or unrolled


def concatenation(call: Call) -> tf.Tensor | None:
    """Concatenates copies of recurrent outputs: what is concatenated takes one scale in the file.

    The converter gives it to the output of an LSTM's op but not to its state, and to the outputs of
    unrolled steps whether their range fits or not; the file then runs, and is wrong.
    """
    *parts, axis = call.inputs
    if not call.is_float or not any(map(_is_recurrent, parts)):
        return None
    copies = [x * _ALMOST_ONE if _is_recurrent(x) else x for x in parts]
    with_copies: tf.Tensor = tf.concat(copies, axis)
    return with_copies


def _is_recurrent(tensor: tf.Tensor) -> bool:
    made = source(tensor)
    while made.type in _HANDING_ON:
        made = source(made.inputs[0])
    return made.type in _RECURRENT
