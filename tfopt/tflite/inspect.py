"""Reads what a `.tflite` holds."""

from __future__ import annotations

import math
import os
from typing import Any

from tfopt.tflite import arena, kernels, macs, origins, schema
from tfopt.tflite.content import read_tflite
from tfopt.tflite.inspection import Inspection, Op, Signature, Tensor
from tfopt.tflite.origins import layer_of

__all__ = ["Inspection", "Op", "Signature", "Tensor", "inspect", "layer_of"]


def inspect(tflite: bytes | str | os.PathLike[str]) -> Inspection:
    """Reads what a `.tflite` holds, without running it and without TensorFlow.

    Args:
        tflite: The file's content or its path.

    Raises:
        InterpreterError: It is no TensorFlow Lite file, or a corrupt one.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), task=tfopt.Task.digits(),
        ...                        target=tfopt.Target.int8(refine=False))
        >>> [op.name for op in inspect(tflite).ops][:2], inspect(tflite).integer_only
        (['CONV_2D', 'CONV_2D'], True)

    References:
        The schema: tensorflow/compiler/mlir/lite/schema/schema.fbs in TensorFlow's sources.
    """
    content = read_tflite(tflite)
    model = schema.unpack(content)
    found = kernels.find(model, content)
    tensors = [_tensors(number, graph, model) for number, graph in enumerate(model.subgraphs)]
    ops = [op for number in range(len(tensors)) for op in _ops(number, tensors[number], model)]
    main = model.subgraphs[0]
    return Inspection(
        ops=tuple(ops),
        tensors=tuple(tensor for group in tensors for tensor in group),
        inputs=tuple(tensors[0][index] for index in schema.integers(main.inputs)),
        outputs=tuple(tensors[0][index] for index in schema.integers(main.outputs)),
        signatures=tuple(_signature(signature) for signature in model.signatureDefs or []),
        parameters=_parameters(model),
        macs=sum(op.macs for op in ops),
        bytes=len(content),
        arena_bytes=arena.arena_bytes(model),
        _kernels=found,
    )


def _tensors(number: int, graph: Any, model: Any) -> list[Tensor]:
    found = []
    for index, tensor in enumerate(graph.tensors or []):
        quantization = tensor.quantization
        signature = tensor.shapeSignature
        found.append(
            Tensor(
                index=index,
                name=schema.text(tensor.name),
                shape=schema.integers(tensor.shape if signature is None else signature),
                dtype=schema.type_name(tensor.type),
                constant=schema.is_constant(model.buffers[tensor.buffer]),
                scales=schema.scales(tensor),
                zero_points=schema.zero_points(tensor),
                quantized_dimension=quantization.quantizedDimension if quantization else 0,
                subgraph=number,
            )
        )
    return found


def _ops(number: int, tensors: list[Tensor], model: Any) -> list[Op]:
    graph = model.subgraphs[number]
    operators = graph.operators or []
    edges = [(schema.integers(op.inputs), schema.integers(op.outputs)) for op in operators]
    consumers: dict[int, list[int]] = {}
    for reads, writes in edges:
        for tensor in reads:
            consumers.setdefault(tensor, []).extend(writes)
    names = [tensor.name for tensor in tensors]
    constants = {tensor.index for tensor in tensors if tensor.constant}
    ours = schema.text(model.description) == schema.DESCRIPTION
    scope = None if ours else origins.model_scope(names)
    outputs = schema.integers(graph.outputs) if ours and number == 0 else ()
    layers = {names[index] for index in outputs}
    shapes = [schema.integers(tensor.shape) for tensor in graph.tensors or []]
    stored = kernels.stored(graph, model)
    found = []
    for index, (op, (reads, writes)) in enumerate(zip(operators, edges, strict=True)):
        name = schema.op_name(model.operatorCodes[op.opcodeIndex])
        present = tuple(tensor for tensor in reads if tensor >= 0)
        neighbours = [tensor for tensor in present if tensor not in constants]
        neighbours += [tensor for output in writes for tensor in consumers.get(output, ())]
        if any(reads[i] in constants for i in macs.kernel_positions(name) if i < len(reads)):
            neighbours = []  # a layer's main op is not told by the layers around it
        told_by = origins.origins((present, writes), names, constants, neighbours)
        found.append(
            Op(
                index=index,
                subgraph=number,
                name=name,
                inputs=tuple(tensors[tensor] for tensor in present),
                outputs=tuple(tensors[tensor] for tensor in writes if tensor >= 0),
                macs=macs.count(
                    name,
                    [shapes[tensor] if tensor >= 0 else None for tensor in reads],
                    [shapes[tensor] for tensor in writes],
                    op.builtinOptions,
                ),
                layer=origins.guess(told_by, scope, layers),
                kernels=tuple(tensors[tensor] for tensor in stored[index]),
                origins=told_by,
            )
        )
    return found


def _signature(signature: Any) -> Signature:
    return Signature(
        key=schema.text(signature.signatureKey),
        inputs=tuple(schema.text(entry.name) for entry in signature.inputs or []),
        outputs=tuple(schema.text(entry.name) for entry in signature.outputs or []),
    )


def _parameters(model: Any) -> int:
    """Elements of the constants that hold weights, those stored once counted once."""
    sizes = {
        tensor.buffer: math.prod(schema.integers(tensor.shape))
        for graph in model.subgraphs
        for tensor in graph.tensors or []
        if kernels.is_learned(tensor) and schema.is_constant(model.buffers[tensor.buffer])
    }
    return sum(sizes.values())
