"""The activations of a calibrated float file: which have a range to be chosen, read and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfopt.tflite import schema
from tfopt.tflite.calibration.histogram import Range

# An activation that is always zero has no range. The step the converter makes of it is so small
# that XNNPACK refuses the file; as the samples tell nothing, one of a usual size does as well.
_NO_RANGE = 1e-6
_SOME_RANGE = Range(0.0, 1.0)

# The converter gives these outputs ranges of their own.
_FIXED = frozenset({"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION"})
# Their tensors share a range with those of other subgraphs.
_CALLS = frozenset({"WHILE", "IF", "CALL", "CALL_ONCE"})


def calibrated(model: Any) -> dict[int, Range]:
    """Returns the ranges that the converter's calibration wrote, by the tensor's number.

    Of the main subgraph; tensors without a range are weights and integers.

    Args:
        model: The unpacked flatbuffer.
    """
    found = {}
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        quantization = tensor.quantization
        low, high = (getattr(quantization, end, None) for end in ("min", "max"))
        if low is not None and high is not None and len(low) == len(high) == 1:
            found[index] = Range(float(low[0]), float(high[0]))
    return found


def free(model: Any) -> dict[int, Range]:
    """Returns the calibrated ranges that may be others.

    Not those that fake quantization states or the converter fixes, and those of recurrent ops and
    loops, whose tensors must agree with their states'.

    Args:
        model: The unpacked flatbuffer.
    """
    bound = {tensor for op in _ops(model) for tensor in _bound(*op, model)}
    return {index: extremes for index, extremes in calibrated(model).items() if index not in bound}


def without_values(extremes: Mapping[int, Range]) -> dict[int, Range]:
    """Returns ranges for the activations that are always zero.

    Args:
        extremes: The smallest and largest value of activations.

    Example:
        >>> without_values({0: Range(0.0, 0.0), 1: Range(-1.0, 2.0)})
        {0: Range(low=0.0, high=1.0)}
    """
    return {
        index: _SOME_RANGE for index, (low, high) in extremes.items() if max(-low, high) < _NO_RANGE
    }


def write(model: Any, ranges: Mapping[int, Range]) -> None:
    """Writes ranges where the converter's quantizer reads them.

    Args:
        model: The unpacked flatbuffer, which is changed.
        ranges: By the tensor's number in the main subgraph.
    """
    for index, (low, high) in ranges.items():
        quantization = model.subgraphs[0].tensors[index].quantization
        quantization.min = np.array([low], np.float32)
        quantization.max = np.array([high], np.float32)


def _ops(model: Any) -> Iterator[tuple[str, Any]]:
    for op in model.subgraphs[0].operators or []:
        yield schema.op_name(model.operatorCodes[op.opcodeIndex]), op


def _bound(name: str, op: Any, model: Any) -> tuple[int, ...]:
    """The tensors around an op whose ranges are not free."""
    reads, writes = schema.integers(op.inputs), schema.integers(op.outputs)
    states = any(model.subgraphs[0].tensors[index].isVariable for index in reads if index >= 0)
    if name in _CALLS:
        return (*reads, *writes)
    if name == "QUANTIZE":
        return reads
    return writes if states or name in _FIXED or name == "DEQUANTIZE" else ()
