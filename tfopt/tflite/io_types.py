"""Inputs and outputs of an 8-bit file as uint8 or int8, without converting again."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema_types

from tfopt.tflite import schema
from tfopt.tflite.finishing import drop_orphans

ByteType = Literal["uint8", "int8"]

_SHIFT = 128  # between the two types, for the same real number
_TYPES = {"uint8": schema_types.TensorType.UINT8, "int8": schema_types.TensorType.INT8}
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


def with_io_type(
    tflite: bytes,
    dtype: ByteType,
    *,
    from_float: bool = False,
    input_grid: tuple[float, int] | None = None,
) -> bytes:
    """Returns the file with its 8-bit inputs and outputs in another byte type.

    Phones want uint8 (MediaPipe refuses int8, and TensorFlow Lite's Swift has no such type),
    microcontrollers want int8. A QUANTIZE op in front and behind shifts by 128, which is exact; one
    that is there already is taken away instead. Nothing inside changes, so the outputs stand for
    the same real numbers, bit for bit.

    Args:
        tflite: The file. Inputs and outputs of other types than 8-bit integers stay as they are.
        dtype: The type of the inputs and outputs.
        from_float: Also for inputs and outputs in floating point with a QUANTIZE or DEQUANTIZE op:
            then the caller does what that op did.
        input_grid: Scale and zero point of the inputs, uint8 only, where they are not those of the
            file's: the QUANTIZE op then goes from one grid to the other.

    Raises:
        InterpreterError: The file is corrupt.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), task=tfopt.Task.digits(),
        ...                        target=tfopt.Target.int8(refine=False))
        >>> shifted = with_io_type(tflite, "uint8")
        >>> tfopt.inspect(shifted).inputs[0].dtype, tfopt.inspect(shifted).integer_only
        ('uint8', True)
    """
    model = schema.unpack(tflite)
    graph = model.subgraphs[0]
    graph.inputs = np.array(schema.integers(graph.inputs), np.int32)
    graph.outputs = np.array(schema.integers(graph.outputs), np.int32)
    removable = {"uint8", "int8"} - {dtype} | ({"float32"} if from_float else set())
    for place in range(len(graph.inputs)):
        _unwrap_input(model, place, removable)
        _wrap_input(model, place, dtype, input_grid)
    for place in range(len(graph.outputs)):
        _unwrap_output(model, place, removable)
        _wrap_output(model, place, dtype)
    drop_orphans(model)
    return schema.pack(model)


def with_pixels(tflite: bytes, chosen: Sequence[bool]) -> bytes:
    """Returns the file with uint8 inputs whose bytes are the real numbers: scale 1, zero point 0.

    However a range was calibrated: the QUANTIZE op behind the input makes its steps of the bytes.

    Args:
        tflite: The file.
        chosen: Which inputs, in the file's order; others are left alone.

    Raises:
        InterpreterError: The file is corrupt.
    """
    if not any(chosen):
        return tflite
    model = schema.unpack(tflite)
    graph = model.subgraphs[0]
    for index, wanted in zip(schema.integers(graph.inputs), chosen, strict=True):
        readers = [op for op in graph.operators if index in schema.integers(op.inputs)]
        converted = all(_is_conversion(model, op) for op in readers)
        if wanted and converted and _kind(graph, index) == "uint8":
            quantization = graph.tensors[index].quantization
            quantization.scale = np.ones(1, np.float32)
            quantization.zeroPoint = np.zeros(1, np.int64)
    return schema.pack(model)


def _unwrap_input(model: Any, place: int, removable: set[str]) -> None:
    """Takes a QUANTIZE op away that alone reads an input and makes 8-bit integers of it."""
    graph = model.subgraphs[0]
    index = int(graph.inputs[place])
    readers = [op for op in graph.operators if index in schema.integers(op.inputs)]
    if len(readers) != 1 or not _is_conversion(model, readers[0]) or index in graph.outputs:
        return
    made = int(readers[0].outputs[0])
    if _kind(graph, index) in removable and _kind(graph, made) in _TYPES:
        graph.operators.remove(readers[0])
        _replace_end(model, graph.inputs, place, made)


def _unwrap_output(model: Any, place: int, removable: set[str]) -> None:
    """Takes an op away that makes an output of 8-bit integers which nothing else reads."""
    graph = model.subgraphs[0]
    index = int(graph.outputs[place])
    makers = [op for op in graph.operators if index in schema.integers(op.outputs)]
    if len(makers) != 1 or not _is_conversion(model, makers[0]):
        return
    read = int(makers[0].inputs[0])
    used = [op for op in graph.operators if index in schema.integers(op.inputs)]
    if _kind(graph, index) in removable and _kind(graph, read) in _TYPES and not used:
        graph.operators.remove(makers[0])
        _replace_end(model, graph.outputs, place, read)


def _wrap_input(model: Any, place: int, dtype: ByteType, grid: tuple[float, int] | None) -> None:
    """Puts a QUANTIZE op behind an input of the other byte type, or on another grid."""
    graph = model.subgraphs[0]
    index = int(graph.inputs[place])
    if _kind(graph, index) not in _TYPES or not _is_quantized(graph.tensors[index]):
        return
    if _kind(graph, index) == dtype and grid is None:
        return
    new = _added(graph, index, dtype, grid)
    graph.operators.insert(0, _quantize(model, new, index))
    _replace_end(model, graph.inputs, place, new)


def _wrap_output(model: Any, place: int, dtype: ByteType) -> None:
    """Puts a QUANTIZE op in front of an output of the other byte type."""
    graph = model.subgraphs[0]
    index = int(graph.outputs[place])
    if _kind(graph, index) in _TYPES.keys() - {dtype} and _is_quantized(graph.tensors[index]):
        new = _added(graph, index, dtype, None)
        graph.operators.append(_quantize(model, index, new))
        _replace_end(model, graph.outputs, place, new)


def _added(graph: Any, index: int, dtype: ByteType, grid: tuple[float, int] | None) -> int:
    """Adds a tensor like another one, of a byte type; returns its number."""
    old = graph.tensors[index]
    new = copy.copy(old)
    new.type, new.quantization = _TYPES[dtype], copy.copy(old.quantization)
    shift = {"uint8": _SHIFT, "int8": -_SHIFT}[dtype] if _kind(graph, index) != dtype else 0
    scale, zero_point = grid or (
        float(old.quantization.scale[0]),
        int(old.quantization.zeroPoint[0]) + shift,
    )
    new.quantization.scale = np.array([scale], np.float32)
    new.quantization.zeroPoint = np.array([zero_point], np.int64)
    new.quantization.min = new.quantization.max = None
    new.buffer = 0  # the empty one, by convention
    graph.tensors.append(new)
    return len(graph.tensors) - 1


def _quantize(model: Any, read: int, made: int) -> Any:
    """A QUANTIZE op."""
    codes = [schema.op_name(code) for code in model.operatorCodes]
    if "QUANTIZE" not in codes:
        number = schema_types.BuiltinOperator.QUANTIZE
        code = schema_types.OperatorCodeT(
            builtinCode=number, deprecatedBuiltinCode=number, version=1
        )
        model.operatorCodes.append(code)
        codes.append("QUANTIZE")
    return schema_types.OperatorT(
        opcodeIndex=codes.index("QUANTIZE"),
        inputs=np.array([read], np.int32),
        outputs=np.array([made], np.int32),
    )


def _replace_end(model: Any, ends: Any, place: int, new: int) -> None:
    """Makes another tensor an input or output: it takes the name, in the signature too."""
    graph = model.subgraphs[0]
    old = int(ends[place])
    ends[place] = new
    name = graph.tensors[old].name
    graph.tensors[new].name = name
    graph.tensors[old].name = name + b"/Quantize"
    for entry in _entries(model, ends is graph.inputs):
        if entry.tensorIndex == old:
            entry.tensorIndex = new


def _entries(model: Any, inputs: bool) -> Iterator[Any]:
    """What the signatures of the main subgraph say of its inputs, or of its outputs."""
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            yield from signature.inputs if inputs else signature.outputs


def _is_conversion(model: Any, op: Any) -> bool:
    return schema.op_name(model.operatorCodes[op.opcodeIndex]) in _CONVERSIONS


def _is_quantized(tensor: Any) -> bool:
    quantization = tensor.quantization
    return quantization is not None and len(schema.integers(quantization.zeroPoint)) == 1


def _kind(graph: Any, index: int) -> str:
    return schema.type_name(graph.tensors[index].type)
