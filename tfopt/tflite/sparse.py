"""Sparse encoding: kernels with many zeros stored as what is not zero, and where it stands."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema_types

from tfopt.technique import Selection, Skipped
from tfopt.tflite import macs, schema
from tfopt.tflite.inspect import inspect

_OPS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
# What a sparse tensor costs beside its numbers: tables of the flatbuffer, an op, the dense tensor.
_OVERHEAD = 640

_NO_SAVING = "has too few zeros to get smaller"
_NO_UNPACKING = "its op cannot read a kernel that another op unpacks"


class SparseEncodingWarning(UserWarning):
    """Sparse encoding was asked for, and no kernel has enough zeros to become smaller by it."""


def encode(content: bytes) -> tuple[bytes, Selection]:
    """Stores the kernels of a file sparse, each that gets smaller by it.

    The interpreter unpacks them once, when it loads the file: the outputs are the same, so is the
    speed, and the unpacked kernels take memory.

    Args:
        content: A file of float32 or int8.

    Returns:
        The file, of the same bytes if no kernel gets smaller; and the layers whose kernels are
        sparse in it, and the others that have kernels, each with the reason.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import dense_net
        >>> model = dense_net()
        >>> model.get_layer("hidden").kernel.assign(np.eye(64, 32))  # doctest: +ELLIPSIS
        <tf.Variable ...
        >>> plain = tfopt.convert(model, target=tfopt.Target.float32())
        >>> encoded, selection = encode(plain)
        >>> len(encoded) < len(plain) / 2, selection.touched
        (True, ('hidden',))

    References:
        Chou, Kjolstad and Amarasinghe, Format Abstraction for Sparse Tensor Algebra Compilers, 2018
        (the last axis compressed, the others dense, is CSR); the schema's SparsityParameters.
    """
    model = schema.unpack(content)
    layers = {
        (kernel.subgraph, kernel.index): (op.layer or kernel.name, op.name)
        for op in inspect(content).ops
        for kernel in op.kernels
    }
    touched: list[str] = []
    skipped: list[Skipped] = []
    for number, graph in enumerate(model.subgraphs):
        for index, able in _kernels(graph, model).items():
            tensor = graph.tensors[index]
            data = schema.stored(model.buffers[tensor.buffer])
            packed = None
            if able and data is not None:
                packed = _packed(schema.values(data, tensor), tensor)
            layer, op = layers.get((number, index), (schema.text(tensor.name), "constant"))
            if packed is None:
                skipped.append(Skipped(layer, op, _NO_SAVING if able else _NO_UNPACKING))
            else:
                _replace(graph, model, index, packed)
                touched.append(layer)
    selection = Selection(tuple(touched), tuple(skipped))
    return (schema.pack(model) if touched else content), selection


def _kernels(graph: Any, model: Any) -> dict[int, bool]:
    """The kernels in the order of the ops, and whether all ops that read one can do so unpacked."""
    found: dict[int, bool] = {}
    others = set(schema.integers(graph.outputs))
    for op in graph.operators or []:
        name = schema.op_name(model.operatorCodes[op.opcodeIndex])
        inputs = schema.integers(op.inputs)
        places = [place for place in macs.kernel_positions(name) if place < len(inputs)]
        for place, index in enumerate(inputs):
            if index < 0 or not schema.is_constant(model.buffers[graph.tensors[index].buffer]):
                continue
            if place in places:
                found[index] = found.get(index, True) and _reads_unpacked(name, op, graph)
            else:
                others.add(index)
    buffers = Counter(tensor.buffer for tensor in graph.tensors)
    return {
        index: able and index not in others and buffers[graph.tensors[index].buffer] == 1
        for index, able in found.items()
    }


def _reads_unpacked(name: str, op: Any, graph: Any) -> bool:
    """Whether an op takes an unpacked kernel, with XNNPACK as well as without."""
    if name not in _OPS:
        return False
    inputs = schema.integers(op.inputs)
    types = [schema.type_name(graph.tensors[index].type) for index in inputs[:2]]
    if name == "TRANSPOSE_CONV":
        types = [schema.type_name(graph.tensors[index].type) for index in inputs[1:3]]
    # XNNPACK takes 8-bit kernels of dense layers from the file only
    return types == ["float32"] * 2 or (types == ["int8"] * 2 and name != "FULLY_CONNECTED")


def _packed(values: np.ndarray, tensor: Any) -> tuple[np.ndarray, Any] | None:
    """The numbers that are not zero and where they stand, along the axis that costs least."""
    # what is left out is 0, which must be the number that stands for zero
    shifted = any(schema.zero_points(tensor))
    if tensor.sparsity is not None or values.ndim < 2 or shifted:
        return None
    best = None
    size = values.nbytes - _OVERHEAD
    for axis in range(values.ndim):
        order = [*(other for other in range(values.ndim) if other != axis), axis]
        rows = np.transpose(values, order).reshape(-1, values.shape[axis])
        segments = np.concatenate([[0], np.cumsum(np.count_nonzero(rows, axis=1))])
        indices = np.nonzero(rows)[1]
        cost = indices.size * values.itemsize + _bytes(segments) + _bytes(indices)
        if cost < size:
            size, best = cost, (order, rows[rows != 0], segments, indices)
    if best is None:
        return None
    order, numbers, segments, indices = best
    return numbers, _parameters(values.shape, order, segments, indices)


def _parameters(
    shape: tuple[int, ...], order: list[int], segments: np.ndarray, indices: np.ndarray
) -> Any:
    """What the file says of the places."""
    sparsity = schema_types.SparsityParametersT()
    sparsity.traversalOrder = order
    sparsity.blockMap = []
    sparsity.dimMetadata = []
    for axis in order[:-1]:
        dense = schema_types.DimensionMetadataT()
        dense.format, dense.denseSize = schema_types.DimensionType.DENSE, shape[axis]
        sparsity.dimMetadata.append(dense)
    last = schema_types.DimensionMetadataT()
    last.format = schema_types.DimensionType.SPARSE_CSR
    last.arraySegmentsType, last.arraySegments = _vector(segments)
    last.arrayIndicesType, last.arrayIndices = _vector(indices)
    sparsity.dimMetadata.append(last)
    return sparsity


def _dtype(values: np.ndarray) -> str:
    """The smallest type that holds all of some indices."""
    largest = int(values.max(initial=0))
    return "uint8" if largest < 2**8 else "uint16" if largest < 2**16 else "int32"


def _bytes(values: np.ndarray) -> int:
    return values.size * np.dtype(_dtype(values)).itemsize


def _vector(values: np.ndarray) -> tuple[int, Any]:
    """Indices as the file's union of vectors, and which of them."""
    name = f"{_dtype(values).capitalize()}Vector"
    vector = getattr(schema_types, f"{name}T")()
    vector.values = values.astype(_dtype(values))
    return getattr(schema_types.SparseIndexVector, name), vector


def _opcode(model: Any) -> int:
    """The number of the op that unpacks."""
    for number, code in enumerate(model.operatorCodes):
        if schema.op_name(code) == "DENSIFY":
            return number
    code = schema_types.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema_types.BuiltinOperator.DENSIFY
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _replace(graph: Any, model: Any, index: int, packed: tuple[np.ndarray, Any]) -> None:
    """Stores a kernel sparse, and puts the op that unpacks it in front of those that read it."""
    numbers, sparsity = packed
    tensor = graph.tensors[index]
    dense = schema_types.TensorT()
    dense.shape, dense.type, dense.buffer = tensor.shape, tensor.type, 0
    dense.shapeSignature = tensor.shapeSignature
    dense.quantization, dense.hasRank = tensor.quantization, tensor.hasRank
    dense.name = tensor.name + b"/Densify"
    tensor.sparsity = sparsity
    model.buffers[tensor.buffer].data = np.frombuffer(numbers.tobytes(), np.uint8)
    graph.tensors.append(dense)
    op = schema_types.OperatorT()
    op.opcodeIndex = _opcode(model)
    op.inputs, op.outputs = [index], [len(graph.tensors) - 1]
    op.builtinOptionsType = schema_types.BuiltinOptions.DensifyOptions
    op.builtinOptions = schema_types.DensifyOptionsT()
    readers = [op for op in graph.operators if index in schema.integers(op.inputs)]
    for reader in readers:
        reader.inputs = [
            len(graph.tensors) - 1 if read == index else read
            for read in schema.integers(reader.inputs)
        ]
    place = next(i for i, other in enumerate(graph.operators) if other is readers[0])
    graph.operators.insert(place, op)
