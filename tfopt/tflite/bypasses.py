"""One rounding for all that read an activation whose range the model states."""

from __future__ import annotations

import copy
from typing import Any

from ai_edge_litert import schema_py_generated as schema_types

from tfopt.tflite import schema


def closed(tflite: bytes) -> bytes:
    """Returns a float file in which all ops read activations as they are fake-quantized.

    The converter computes what two layers have in common only once: `x - mean(x)`, say, of a
    layer whose output is fake-quantized, and inside of `variance(x)`, where it is not. Read both
    ways, the activation has two ranges, and its op would stay in floating point.

    Args:
        tflite: A float file; what it fake-quantizes goes through QUANTIZE.

    Returns:
        The same bytes if nothing goes past a QUANTIZE op.
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
    return schema.pack(model) if bypassed else tflite


def _is_quantize(op: Any, model: Any) -> bool:
    """Whether an op rounds real numbers."""
    name = schema.op_name(model.operatorCodes[op.opcodeIndex])
    read = model.subgraphs[0].tensors[op.inputs[0]] if name == "QUANTIZE" else None
    return read is not None and schema.type_name(read.type) == "float32"


def _close(model: Any, index: int, quantize: Any) -> None:
    """Lets all that reads a tensor read what its QUANTIZE op makes of it, turned back."""
    graph = model.subgraphs[0]
    tensor = copy.copy(graph.tensors[index])
    tensor.name, tensor.quantization = tensor.name + b"/Rounded", None
    graph.tensors.append(tensor)
    rounded = len(graph.tensors) - 1
    others = [op for op in graph.operators if op is not quantize]
    made = [place for place, op in enumerate(others) if index in schema.integers(op.outputs)]
    for op in others:
        op.inputs = [rounded if read == index else read for read in schema.integers(op.inputs)]
    back = schema_types.OperatorT(
        opcodeIndex=_dequantize_code(model), inputs=quantize.outputs, outputs=[rounded]
    )
    first = made[0] + 1 if made else 0
    graph.operators = [*others[:first], quantize, back, *others[first:]]


def _dequantize_code(model: Any) -> int:
    """The number of DEQUANTIZE among the op codes of a file; it is added if it is not there."""
    for number, code in enumerate(model.operatorCodes):
        if schema.op_name(code) == "DEQUANTIZE":
            return number
    builtin = schema_types.BuiltinOperator.DEQUANTIZE
    code = schema_types.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=builtin, version=2)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
