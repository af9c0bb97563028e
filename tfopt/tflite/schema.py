"""The flatbuffer inside a `.tflite`: unpacked, its constants decoded, and packed again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfopt.errors import InterpreterError

DESCRIPTION = "Made with tfopt."
"""Marks a file whose tensors are named by paths of layers, without the model's own name."""

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of buffers, as the schema asks; the converter's own Python does not keep it


def _names(enumeration: type) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


_OPS = _names(schema.BuiltinOperator)
_TYPES = {code: name.lower() for code, name in _names(schema.TensorType).items()}
_PACKED_BITS = {"int4": 4, "uint4": 4, "int2": 2}
_NUMPY = {
    **dict.fromkeys(("int4", "int2"), "int8"),
    **{"uint4": "uint8", "bfloat16": "uint16"},
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2"), "uint8"),
}


def unpack(content: bytes) -> Any:
    """Returns a file's `ModelT`, its buffers as views of `content`.

    Buffers behind the flatbuffer, where files of over 2 GB and some exporters keep them, are
    brought into it.

    Raises:
        InterpreterError: The file is corrupt.
    """
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        _check(model)
        for buffer in model.buffers:
            if buffer.offset > 1:
                buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
    except Exception as error:  # whatever broken offsets lead to: struct, index, value, type errors
        raise InterpreterError(
            received=f"{len(content):,} bytes that begin as a TensorFlow Lite file but are corrupt "
            f"({type(error).__name__}: {error})",
            expected="a whole .tflite file",
            fix="copy the file again, or make it again with tfopt.convert",
        ) from error
    return model


def pack(model: Any) -> bytes:
    """Returns a `ModelT` as the bytes of a file, its buffers aligned as the schema asks.

    Equal vectors are written once: the zero points of all symmetric channels, above all.
    """
    for buffer in model.buffers:
        buffer.__class__ = _AlignedBuffer
    size = sum(buffer.data.size for buffer in model.buffers if buffer.data is not None)
    builder = _SharingBuilder(size + 2**16)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


class _SharingBuilder(flatbuffers.Builder):
    """Writes a vector of numbers that it has written before as a reference to that one."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


class _AlignedBuffer(schema.BufferT):
    """A buffer packed at a multiple of 16 bytes, where kernels read weights without a copy."""

    def Pack(self, builder: Any) -> Any:
        if self.data is None or not self.data.size:
            return super().Pack(builder)
        size = self.data.size
        builder.StartVector(1, size, _ALIGNMENT)
        builder.head -= size
        builder.Bytes[builder.head : builder.head + size] = memoryview(self.data)
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def add_buffer(model: Any, data: np.ndarray) -> int:
    """Adds a buffer of bytes to a `ModelT`, and returns its number."""
    model.buffers.append(schema.BufferT(data=data))
    return len(model.buffers) - 1


def op_name(code: Any) -> str:
    """Returns an operator code's name: `CONV_2D`, or what a custom op calls itself."""
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return text(code.customCode) or "CUSTOM"
    return _OPS.get(number, f"UNKNOWN_{number}")


def type_name(code: int) -> str:
    """Returns a tensor type's name, such as `int8`."""
    return _TYPES.get(code, f"unknown_{code}")


def text(value: bytes | str | None) -> str:
    """Returns a flatbuffer's string."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def integers(values: Any) -> tuple[int, ...]:
    """Returns a flatbuffer's vector, which is missing if it is empty."""
    return () if values is None else tuple(int(value) for value in values)


def scales(tensor: Any) -> tuple[float, ...]:
    """Returns the scales of a tensor, one or one for each channel; none if it is not quantized."""
    given = tensor.quantization.scale if tensor.quantization is not None else None
    return () if given is None else tuple(float(scale) for scale in given)


def set_scales(tensor: Any, values: np.ndarray) -> None:
    """Gives a quantized tensor other scales."""
    tensor.quantization.scale = values.astype(np.float32)


def zero_points(tensor: Any) -> tuple[int, ...]:
    """Returns the integers of a tensor that stand for zero; none if it is not quantized."""
    return integers(tensor.quantization.zeroPoint) if tensor.quantization is not None else ()


def channel_axis(tensor: Any) -> int:
    """Returns the axis of a quantized tensor along which its scales differ; 0 for a single one."""
    return tensor.quantization.quantizedDimension if len(scales(tensor)) > 1 else 0


def is_constant(buffer: Any) -> bool:
    """Returns whether a buffer holds data."""
    return stored(buffer) is not None


def stored(buffer: Any) -> np.ndarray | None:
    """Returns the bytes of a buffer as a view; None for one without data in this file."""
    return buffer.data if buffer.data is not None and buffer.data.size else None


def values(data: np.ndarray, tensor: Any) -> np.ndarray:
    """Returns a constant tensor's stored numbers, dense, in its shape.

    4-bit and 2-bit numbers come as one byte each, 16-bit brain floats and 8-bit floats as their
    bits.

    Args:
        data: The bytes of the tensor's buffer.
        tensor: The `TensorT`.

    Raises:
        ValueError: The bytes do not fit the shape, or the type has no numbers.
    """
    kind, shape = type_name(tensor.type), integers(tensor.shape)
    dtype = np.dtype(_NUMPY.get(kind, kind))
    if kind in _PACKED_BITS:
        data = _unpacked(data, _PACKED_BITS[kind], signed=kind.startswith("int"))
        if tensor.sparsity is None:
            data = data[: math.prod(shape)]
    numbers: np.ndarray = data.view(dtype)
    return numbers.reshape(shape) if tensor.sparsity is None else _dense(numbers, tensor, shape)


def _check(model: Any) -> None:
    """Refuses numbers that point nowhere."""
    if not model.subgraphs or not model.buffers:
        raise ValueError("no subgraph or no buffers")
    for graph in model.subgraphs:
        tensors = graph.tensors or []
        if any(tensor.buffer >= len(model.buffers) for tensor in tensors):
            raise IndexError("a tensor of a buffer that is not there")
        used = [integers(graph.inputs), integers(graph.outputs)]
        for op in graph.operators or []:
            used += [integers(op.inputs), integers(op.outputs)]
            if op.opcodeIndex >= len(model.operatorCodes or []):
                raise IndexError("an operator of a code that is not there")
        if any(not -1 <= index < len(tensors) for indexes in used for index in indexes):
            raise IndexError("an operator on a tensor that is not there")


def _unpacked(data: np.ndarray, bits: int, *, signed: bool) -> np.ndarray:
    """Returns numbers of 2 or 4 bits, the lowest of each byte first, as a byte each."""
    mask = (1 << bits) - 1
    parts = [(data >> shift) & mask for shift in range(0, 8, bits)]
    numbers = np.stack(parts, axis=1).reshape(-1).astype(np.int8 if signed else np.uint8)
    if signed:
        numbers = np.where(numbers > mask >> 1, numbers - (mask + 1), numbers).astype(np.int8)
    return numbers


def _dense(numbers: np.ndarray, tensor: Any, shape: Sequence[int]) -> np.ndarray:
    """Returns a sparse tensor with its zeros (the zero point, where quantized) filled in.

    Walks the levels of the storage format from the outside: each keeps the positions so far, times
    the size of the level, plus the place within it.

    References:
        Chou, Kjolstad and Amarasinghe, "Format Abstraction for Sparse Tensor Algebra Compilers",
        OOPSLA 2018.
    """
    sparsity = tensor.sparsity
    order, blocks = integers(sparsity.traversalOrder), integers(sparsity.blockMap)
    places: dict[int, np.ndarray] = {}
    parents = np.zeros(1, np.int64)
    for level, metadata in zip(order, sparsity.dimMetadata, strict=True):
        if metadata.format == schema.DimensionType.DENSE:
            size = metadata.denseSize
            chosen = np.repeat(np.arange(len(parents)), size)
            place = np.tile(np.arange(size), len(parents))
        else:
            segments = np.asarray(metadata.arraySegments.values, np.int64)
            chosen = np.repeat(np.arange(len(parents)), np.diff(segments))
            place = np.asarray(metadata.arrayIndices.values, np.int64)
        places = {known: where[chosen] for known, where in places.items()}
        places[level] = place
        parents = chosen
    sizes = {level: m.denseSize for level, m in zip(order, sparsity.dimMetadata, strict=True)}
    index = [places[axis] for axis in range(len(shape))]
    for block, axis in enumerate(blocks):
        level = len(shape) + block
        index[axis] = index[axis] * sizes[level] + places[level]
    points = zero_points(tensor)
    dense = np.full(tuple(shape), points[0] if points else 0, numbers.dtype)
    dense[tuple(index)] = numbers[: len(index[0])]
    return dense
