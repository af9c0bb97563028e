"""The kernels of a `.tflite` as they are stored: how many weights are zero, how many distinct."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from tfopt.errors import InterpreterError
from tfopt.tflite import macs, schema


@dataclasses.dataclass(frozen=True)
class Kernels:
    """The kernels (and embedding tables) of a file, decoded when a figure is asked for.

    Args:
        content: The file.
        tensors: The flatbuffer's tensors that are kernels, each with the bytes of its buffer; one
            that several ops share comes once.
    """

    content: bytes
    tensors: tuple[tuple[Any, np.ndarray], ...]

    def sparsity(self) -> float:
        """Returns the share of weights stored as zero: the zero point, where quantized.

        Raises:
            InterpreterError: A kernel cannot be decoded.
        """
        zeros = total = 0
        for tensor, data in self.tensors:
            values = _decoded(tensor, data)
            zeros += int(np.count_nonzero(values == _zero(tensor, values)))
            total += values.size
        return float(zeros / total) if total else 0.0

    def unique_weights(self) -> int:
        """Returns the largest number of distinct stored values among weights that share a scale.

        Raises:
            InterpreterError: A kernel cannot be decoded.
        """
        return max(
            (_distinct(tensor, _decoded(tensor, data)) for tensor, data in self.tensors), default=0
        )


def find(model: Any, content: bytes) -> Kernels:
    """Finds the kernels of a file: constants at the places where ops have theirs.

    Sees through the op that turns stored weights into those computed with: DEQUANTIZE of a 16-bit
    float, DENSIFY of a sparse tensor.

    Args:
        model: The unpacked flatbuffer.
        content: The file it was unpacked from.
    """
    found: dict[int, tuple[Any, np.ndarray]] = {}
    for graph in model.subgraphs:
        for index in dict.fromkeys(itertools.chain(*stored(graph, model))):
            tensor = graph.tensors[index]
            data = schema.stored(model.buffers[tensor.buffer])
            if data is not None:
                found[tensor.buffer] = (tensor, data)
    return Kernels(content, tuple(found.values()))


def stored(graph: Any, model: Any) -> list[tuple[int, ...]]:
    """Returns the numbers of the tensors that each op of a subgraph has its kernels stored in.

    Args:
        graph: The subgraph.
        model: The unpacked flatbuffer.
    """
    found = []
    stored_as: dict[int, int] = {}
    for op in graph.operators or []:
        name = schema.op_name(model.operatorCodes[op.opcodeIndex])
        inputs = schema.integers(op.inputs)
        if name in ("DEQUANTIZE", "DENSIFY"):
            stored_as.update(dict.fromkeys(schema.integers(op.outputs), inputs[0]))
        places = [place for place in macs.kernel_positions(name) if place < len(inputs)]
        indexes = [stored_as.get(inputs[place], inputs[place]) for place in places]
        found.append(
            tuple(index for index in indexes if index >= 0 and _is_kernel(index, graph, model))
        )
    return found


def _is_kernel(index: int, graph: Any, model: Any) -> bool:
    tensor = graph.tensors[index]
    return schema.is_constant(model.buffers[tensor.buffer]) and is_learned(tensor)


def is_learned(tensor: Any) -> bool:
    """Whether a constant holds weights, and not a shape or an axis: it is float or quantized."""
    kind = schema.type_name(tensor.type)
    return kind.startswith(("float", "bfloat")) or bool(schema.scales(tensor))


def _decoded(tensor: Any, data: np.ndarray) -> np.ndarray:
    try:
        return schema.values(data, tensor)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise InterpreterError(
            received=f"kernel {schema.text(tensor.name)!r} of {schema.type_name(tensor.type)} "
            f"{list(schema.integers(tensor.shape))} in {data.size:,} bytes ({error})",
            expected="as many numbers as its shape says, of a type that can be decoded",
            fix="copy the file again, or make it again with tfopt.convert",
        ) from error


def _zero(tensor: Any, values: np.ndarray) -> np.ndarray | int:
    """The number that stands for zero, shaped to be compared with the values."""
    points = schema.zero_points(tensor)
    if len(set(points)) <= 1:
        return values.dtype.type(points[0]) if points else values.dtype.type(0)
    shape = [1] * values.ndim
    shape[tensor.quantization.quantizedDimension] = len(points)
    return np.asarray(points, values.dtype).reshape(shape)


def _distinct(tensor: Any, values: np.ndarray) -> int:
    if not values.size:
        return 0
    channels = len(schema.scales(tensor))
    if channels > 1 and values.shape[tensor.quantization.quantizedDimension] == channels:
        groups = np.moveaxis(values, tensor.quantization.quantizedDimension, 0)
        groups = groups.reshape(channels, -1)
    else:
        groups = values.reshape(1, -1)
    if groups.dtype.itemsize > 1:
        return max(len(np.unique(group)) for group in groups)
    groups = np.ascontiguousarray(groups).view(np.uint8)
    return max(int(np.count_nonzero(np.bincount(group, minlength=256))) for group in groups)
