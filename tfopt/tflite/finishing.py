"""The last touches to a converted file: names that tell the Keras layers, and a signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema_types

from tfopt.tflite import naming, schema

_KEY = b"serving_default"


def finish(
    content: bytes,
    *,
    scopes: Mapping[str, str],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    """Names a converted file's tensors after the Keras layers and signs it.

    The file then depends on the model alone, is called by the names of the model's inputs and
    outputs, and its weights are aligned.

    Args:
        content: What the converter wrote from a traced model.
        scopes: What the layer of each scope is called.
        inputs: The names of the inputs, in the model's order.
        outputs: The names of the outputs, in the model's order.

    Raises:
        InterpreterError: The file is corrupt.
    """
    model = schema.unpack(content)
    main = model.subgraphs[0]
    for number, graph in enumerate(model.subgraphs):
        graph.name = f"subgraph_{number}".encode() if number else b"main"
        for tensor in graph.tensors:
            tensor.name = naming.in_file(schema.text(tensor.name), scopes).encode()
        _name_conversions(graph, model)
    reads, writes = _ordered(model, main)
    _name_last(model, dict(zip(writes, outputs, strict=True)))
    for index, name in reversed(list(zip(writes, outputs, strict=True))):
        main.tensors[index].name = name.encode()
    for index, name in zip(reads, inputs, strict=True):  # also for one that is an output as well
        main.tensors[index].name = name.encode()
    main.inputs, main.outputs = reads, writes
    model.description = schema.DESCRIPTION.encode()
    model.signatureDefs = [_signature(inputs, reads, outputs, writes)]
    drop_orphans(model)
    return schema.pack(model)


def drop_orphans(model: Any) -> None:
    """Drops buffers that nothing refers to; the converter leaves some, with memory's garbage."""
    holders = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    holders += model.metadata or []
    kept = sorted({0, *(holder.buffer for holder in holders)})  # 0 is there by convention
    places = {old: new for new, old in enumerate(kept)}
    for holder in holders:
        holder.buffer = places[holder.buffer]
    model.buffers = [model.buffers[old] for old in kept]


def _name_conversions(graph: Any, model: Any) -> None:
    """Names what QUANTIZE and DEQUANTIZE write after what they read, if its name tells nothing."""
    for kind, op in _conversions(graph, model):
        source, made = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
        if b"/" in source.name and b"/" not in made.name:
            made.name = source.name + b"/" + kind.capitalize().encode()


def _name_last(model: Any, outputs: Mapping[int, str]) -> None:
    """Names what is converted for the caller after the output, if its name tells nothing.

    Args:
        model: The unpacked flatbuffer.
        outputs: The names of the outputs, by the tensors' numbers.
    """
    main = model.subgraphs[0]
    for _, op in _conversions(main, model):
        source, name = main.tensors[op.inputs[0]], outputs.get(op.outputs[0])
        if name is not None and b"/" not in source.name:
            source.name = f"{name}/Identity".encode()


def _conversions(graph: Any, model: Any) -> Iterator[tuple[str, Any]]:
    """Yields the QUANTIZE and DEQUANTIZE ops of a subgraph, with their names."""
    for op in graph.operators or []:
        kind = schema.op_name(model.operatorCodes[op.opcodeIndex])
        if kind in ("QUANTIZE", "DEQUANTIZE"):
            yield kind, op


def _ordered(model: Any, main: Any) -> tuple[list[int], list[int]]:
    """The numbers of the inputs and outputs in the model's order.

    A SavedModel's are known by name only; the names were given to sort in the model's order.
    """
    if not model.signatureDefs:
        return list(schema.integers(main.inputs)), list(schema.integers(main.outputs))
    signature = model.signatureDefs[0]

    def by_name(entries: list[Any]) -> list[int]:
        return [entry.tensorIndex for entry in sorted(entries, key=lambda entry: entry.name)]

    return by_name(signature.inputs), by_name(signature.outputs)


def _signature(
    inputs: Sequence[str], reads: list[int], outputs: Sequence[str], writes: list[int]
) -> Any:
    def entries(names: Sequence[str], tensors: list[int]) -> list[Any]:
        named = zip(names, tensors, strict=True)
        return [schema_types.TensorMapT(name.encode(), index) for name, index in named]

    return schema_types.SignatureDefT(
        inputs=entries(inputs, reads),
        outputs=entries(outputs, writes),
        signatureKey=_KEY,
        subgraphIndex=0,
    )
