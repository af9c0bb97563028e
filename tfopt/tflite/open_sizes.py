"""Sizes that a file leaves open, such as an image's: what it is allocated with until told.

A file holds two shapes of a tensor: one with -1 for what is open, and the one it is allocated with
before anybody resizes an input. The converter writes 1 into the second, which no network is made
for: a convolution may have nothing left to compute, and the interpreter then refuses the file. Nor
does it know that a sample of twelve steps, reshaped, has twelve rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfopt.tflite import schema


def with_sizes(tflite: bytes, shapes: Mapping[int, tuple[int, ...]]) -> bytes:
    """Returns the file as it is allocated for inputs of some size; what is open stays open.

    Operations and memory of the file are counted with these sizes, and `benchmark` times them.

    Args:
        tflite: The file, which is returned as it is if these are its sizes.
        shapes: The shapes of tensors in a run, by their numbers. A tensor without stays as it is.

    Raises:
        InterpreterError: The file is corrupt.

    Example:
        >>> import tfopt
        >>> from tfopt.keras_gate import tf_keras
        >>> image = tf_keras.Input((None, None, 3))
        >>> model = tf_keras.Model(image, tf_keras.layers.ReLU()(image))
        >>> tflite = tfopt.convert(model, target=tfopt.Target.float32())
        >>> number = tfopt.inspect(tflite).inputs[0].index
        >>> larger = with_sizes(tflite, {number: (1, 96, 96, 3)})
        >>> tfopt.inspect(larger).inputs[0].shape
        (-1, -1, -1, 3)
    """
    model = schema.unpack(tflite)
    is_other = False
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        signature, shape = schema.integers(tensor.shapeSignature), shapes.get(index, ())
        if -1 in signature and len(shape) == len(signature):
            is_other |= tuple(schema.integers(tensor.shape)) != shape
            tensor.shape = np.asarray(shape, np.int32)
    return schema.pack(model) if is_other else tflite
