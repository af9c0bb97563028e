"""One rounding for all that read an activation whose range the model states, and one reading."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema_types

from tfopt.tflite import schema


def closed(tflite: bytes) -> bytes:
    """Returns a float file in which all ops read activations as they are fake-quantized.

    The converter computes what two layers have in common only once: `x - mean(x)`, say, of a
    layer whose output is fake-quantized, and inside of `variance(x)`, where it is not. Read both
    ways, the activation has two ranges, and its op would stay in floating point. Of an activation
    that is reshaped once it is rounded, it lets products of matrices read the integers.

    Args:
        tflite: A float file; what it fake-quantizes goes through QUANTIZE.

    Returns:
        The same bytes if nothing goes past a QUANTIZE op, nor past a DEQUANTIZE op.
    """
    model = schema.unpack(tflite)
    graph = model.subgraphs[0]
    quantized: dict[int, Any] = {}
    for op in graph.operators:
        if _is_quantize(op, model):
            quantized.setdefault(int(op.inputs[0]), op)
    bypassed = {
        index: op
        for index, op in quantized.items()
        if any(index in schema.integers(other.inputs) for other in graph.operators if other != op)
    }
    for index, op in bypassed.items():
        _close(model, index, op)
    misread = _misread(model)
    for index, readers in misread.items():
        _turn_back(model, index, readers)
    return schema.pack(model) if bypassed or misread else tflite


def _is_quantize(op: Any, model: Any) -> bool:
    """Whether an op rounds real numbers."""
    name = schema.op_name(model.operatorCodes[op.opcodeIndex])
    read = model.subgraphs[0].tensors[op.inputs[0]] if name == "QUANTIZE" else None
    return read is not None and _is_real(read)


def _close(model: Any, index: int, quantize: Any) -> None:
    """Lets all that reads a tensor read what its QUANTIZE op makes of it, turned back."""
    graph = model.subgraphs[0]
    others = [op for op in graph.operators if op is not quantize]
    made = [place for place, op in enumerate(others) if index in schema.integers(op.outputs)]
    back = _dequantize(model, quantize.outputs[0], name=graph.tensors[index].name)
    _read_instead(others, index, back.outputs[0])
    first = made[0] + 1 if made else 0
    graph.operators = [*others[:first], quantize, back, *others[first:]]


def _misread(model: Any) -> dict[int, list[Any]]:
    """The rounded activations that ops read as real numbers, and these ops."""
    graph = model.subgraphs[0]
    made = {int(index) for op in graph.operators for index in schema.integers(op.outputs)}
    found: dict[int, list[Any]] = {}
    for op in graph.operators:
        name = schema.op_name(model.operatorCodes[op.opcodeIndex])
        if name == "DEQUANTIZE" or not _is_real(graph.tensors[op.outputs[0]]):
            continue
        for index in made.intersection(schema.integers(op.inputs)):
            if schema.type_name(graph.tensors[index].type) in ("int8", "uint8"):
                found.setdefault(index, []).append(op)
    return found


def _turn_back(model: Any, index: int, readers: list[Any]) -> None:
    """Lets ops read a rounded activation as real numbers."""
    graph = model.subgraphs[0]
    back = _dequantize(model, index, name=graph.tensors[index].name)
    _read_instead(readers, index, back.outputs[0])
    first = next(place for place, op in enumerate(graph.operators) if op is readers[0])
    graph.operators = [*graph.operators[:first], back, *graph.operators[first:]]


def _dequantize(model: Any, index: int, *, name: bytes) -> Any:
    """An op that turns a rounded tensor back, into a tensor of its own."""
    graph = model.subgraphs[0]
    tensor = copy.copy(graph.tensors[index])
    tensor.name, tensor.quantization = name + b"/Rounded", None
    tensor.type = schema_types.TensorType.FLOAT32
    graph.tensors.append(tensor)
    code, made = _dequantize_code(model), len(graph.tensors) - 1
    return schema_types.OperatorT(opcodeIndex=code, inputs=[index], outputs=[made])


def _read_instead(ops: Sequence[Any], index: int, other: int) -> None:
    for op in ops:
        op.inputs = [other if read == index else read for read in schema.integers(op.inputs)]


def _is_real(tensor: Any) -> bool:
    return schema.type_name(tensor.type) == "float32"


def _dequantize_code(model: Any) -> int:
    """The number of DEQUANTIZE among the op codes of a file; it is added if it is not there."""
    for number, code in enumerate(model.operatorCodes):
        if schema.op_name(code) == "DEQUANTIZE":
            return number
    builtin = schema_types.BuiltinOperator.DEQUANTIZE
    code = schema_types.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=builtin, version=2)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
