"""Files for grey images made to take colour ones, which is all that MediaPipe gives."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema_types

from tfopt.tflite import schema

_LUMA = (38, 75, 14)
"""Red, green and blue in 127 parts: within 0.004 of 0.299, 0.587 and 0.114."""

_WHOLE = sum(_LUMA)
_VERSION = 3  # of the op, with 8-bit weights for each channel


def with_rgb_input(tflite: bytes) -> bytes:
    """Returns a file for grey images with a 1x1 convolution in front, which makes them of RGB ones.

    In an 8-bit file it computes with integers, and its weights add up to one exactly: where red,
    green and blue are the same, the outputs are those of the grey image, bit for bit.

    Args:
        tflite: A file whose first input is (samples, height, width, 1), int8 or float32.

    Raises:
        InterpreterError: The file is corrupt.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), task=tfopt.Task.digits(),
        ...                        target=tfopt.Target.int8(refine=False))
        >>> tfopt.inspect(with_rgb_input(tflite)).inputs[0].shape
        (-1, 8, 8, 3)

    References:
        Recommendation ITU-R BT.601-7, section 2.5.1 (luma).
    """
    model = schema.unpack(tflite)
    graph = model.subgraphs[0]
    grey = int(graph.inputs[0])
    color = _with_channels(graph, grey)
    kernel, bias = _constants(model, graph.tensors[grey])
    graph.operators.insert(0, _convolution(model, [color, kernel, bias], grey))
    graph.inputs = np.array([color, *schema.integers(graph.inputs)[1:]], np.int32)
    for signature in model.signatureDefs or []:
        for entry in signature.inputs:
            if signature.subgraphIndex == 0 and entry.tensorIndex == grey:
                entry.tensorIndex = color
    graph.tensors[grey].name += b"/grey"
    return schema.pack(model)


def _with_channels(graph: Any, grey: int) -> int:
    """Adds a tensor like the grey one with three channels; returns its number."""
    color = copy.copy(graph.tensors[grey])
    color.shape = np.array([*schema.integers(color.shape)[:3], 3], np.int32)
    if color.shapeSignature is not None:
        color.shapeSignature = np.array([*schema.integers(color.shapeSignature)[:3], 3], np.int32)
    color.buffer = 0  # the empty one, by convention
    graph.tensors.append(color)
    return len(graph.tensors) - 1


def _constants(model: Any, grey: Any) -> tuple[int, int]:
    """Adds the weights and a bias of zero; returns their numbers."""
    types = schema_types.TensorType
    if grey.type == types.FLOAT32:
        weights = np.array(_LUMA, np.float32) / np.float32(_WHOLE)
        found = [
            _constant(model, b"luma", types.FLOAT32, (1, 1, 1, 3), weights, None),
            _constant(model, b"luma_bias", types.FLOAT32, (1,), np.zeros(1, np.float32), None),
        ]
        return found[0], found[1]
    step = 1.0 / _WHOLE
    scale = float(grey.quantization.scale[0]) * step
    weights = np.array(_LUMA, np.int8)
    found = [
        _constant(model, b"luma", types.INT8, (1, 1, 1, 3), weights, step),
        _constant(model, b"luma_bias", types.INT32, (1,), np.zeros(1, np.int32), scale),
    ]
    return found[0], found[1]


def _constant(
    model: Any,
    name: bytes,
    kind: int,
    shape: tuple[int, ...],
    values: np.ndarray,
    scale: float | None,
) -> int:
    """Adds a constant tensor; returns its number."""
    graph = model.subgraphs[0]
    quantization = None
    if scale is not None:
        quantization = schema_types.QuantizationParametersT(
            scale=np.array([scale], np.float32), zeroPoint=np.zeros(1, np.int64)
        )
    tensor = schema_types.TensorT(
        shape=np.array(shape, np.int32),
        type=kind,
        buffer=schema.add_buffer(model, values.view(np.uint8)),
        name=b"rgb_to_grey/" + name,
        quantization=quantization,
        hasRank=True,
    )
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _convolution(model: Any, reads: list[int], made: int) -> Any:
    """A CONV_2D op of a 1x1 kernel."""
    names = [schema.op_name(code) for code in model.operatorCodes]
    if "CONV_2D" not in names:
        number = schema_types.BuiltinOperator.CONV_2D
        code = schema_types.OperatorCodeT(
            builtinCode=number, deprecatedBuiltinCode=number, version=_VERSION
        )
        model.operatorCodes.append(code)
        names.append("CONV_2D")
    options = schema_types.Conv2DOptionsT(
        padding=schema_types.Padding.VALID,
        strideW=1,
        strideH=1,
        dilationWFactor=1,
        dilationHFactor=1,
        fusedActivationFunction=schema_types.ActivationFunctionType.NONE,
    )
    return schema_types.OperatorT(
        opcodeIndex=names.index("CONV_2D"),
        inputs=np.array(reads, np.int32),
        outputs=np.array([made], np.int32),
        builtinOptionsType=schema_types.BuiltinOptions.Conv2DOptions,
        builtinOptions=options,
    )
