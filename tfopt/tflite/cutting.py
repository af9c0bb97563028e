"""Single ops of a `.tflite` as files of their own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema_types

from tfopt.tflite import schema
from tfopt.tflite.finishing import drop_orphans

_ENDS = ("inputs", "outputs", "intermediates")


class Cutter:
    """Cuts ops out of the main subgraph of a file.

    Args:
        content: The file.

    Raises:
        InterpreterError: The file is corrupt.
    """

    def __init__(self, content: bytes) -> None:
        self._model = schema.unpack(content)
        self._graph = self._model.subgraphs[0]
        operators = self._graph.operators or []
        makers = [(place, index) for place, op in enumerate(operators) for index in _written(op)]
        self._makers = {index: place for place, index in makers}

    def reads(self, place: int) -> tuple[int, ...]:
        """Returns the numbers of the tensors that change from run to run, of those an op reads.

        Args:
            place: The op's place in the order of execution.
        """
        ops = [*self._constant_ops(place), place]
        made = {index for op in ops for index in _written(self._graph.operators[op])}
        read = (index for op in ops for index in schema.integers(self._graph.operators[op].inputs))
        changing = (i for i in read if i >= 0 and i not in made and not self._stays(i))
        return tuple(dict.fromkeys(changing))

    def is_constant(self, place: int) -> bool:
        """Returns whether an op computes the same in every run, such as weights unpacked."""
        op = self._graph.operators[place]
        inputs = [index for index in schema.integers(op.inputs) if index >= 0]
        return bool(inputs) and all(self._is_known(index) for index in inputs)

    def cut(self, place: int, shapes: Mapping[int, Sequence[int]]) -> tuple[bytes, tuple[int, ...]]:
        """Returns a file of one op, and of those that unpack its constants.

        Args:
            place: The op's place in the order of execution.
            shapes: The shapes of what it reads, by the numbers of `reads`.

        Returns:
            The file, and the numbers in it of what it reads, in the order of `reads`.
        """
        operators = [copy.copy(self._graph.operators[op]) for op in self._constant_ops(place)]
        operators.append(copy.copy(self._graph.operators[place]))
        lists = [schema.integers(getattr(op, end)) for op in operators for end in _ENDS]
        used = sorted({index for indexes in lists for index in indexes} - {-1})
        places = {-1: -1} | {old: new for new, old in enumerate(used)}
        tensors = [copy.copy(self._graph.tensors[index]) for index in used]
        for index, shape in shapes.items():
            tensors[places[index]].shape = np.asarray(shape, np.int32)
            tensors[places[index]].shapeSignature = None
        for op in operators:
            for end in _ENDS:
                if getattr(op, end) is not None:
                    moved = [places[index] for index in schema.integers(getattr(op, end))]
                    setattr(op, end, np.array(moved, np.int32))
        reads = tuple(places[index] for index in self.reads(place))
        graph = schema_types.SubGraphT(
            tensors=tensors,
            inputs=list(reads),
            outputs=operators[-1].outputs,
            operators=operators,
        )
        return _packed(self._model, graph), reads

    def _constant_ops(self, place: int) -> list[int]:
        """The ops that make constants for an op, in order."""
        found: set[int] = set()
        pending = [place]
        while pending:
            for index in schema.integers(self._graph.operators[pending.pop()].inputs):
                maker = self._makers.get(index)
                if maker is not None and maker not in found and self._is_known(index):
                    found.add(maker)
                    pending.append(maker)
        return sorted(found)

    def _is_known(self, index: int) -> bool:
        """Whether a tensor holds the same in every run: a constant, or made of such."""
        tensor = self._graph.tensors[index]
        if schema.is_constant(self._model.buffers[tensor.buffer]):
            return True
        return index in self._makers and self.is_constant(self._makers[index])

    def _stays(self, index: int) -> bool:
        """Whether a tensor is no input of a cut: a constant, or a state."""
        tensor = self._graph.tensors[index]
        return tensor.isVariable or schema.is_constant(self._model.buffers[tensor.buffer])


def without_ops(content: bytes) -> bytes:
    """Returns a file that does nothing: what a run of it takes, every run takes.

    Args:
        content: A file, whose inputs it takes and gives back.
    """
    model = schema.unpack(content)
    model.subgraphs = model.subgraphs[:1]
    graph = model.subgraphs[0]
    tensors = [copy.copy(graph.tensors[index]) for index in schema.integers(graph.inputs)]
    for tensor in tensors:
        tensor.shapeSignature = None  # of the sizes it stores: nobody will say others
    same = list(range(len(tensors)))
    return _packed(
        model, schema_types.SubGraphT(tensors=tensors, inputs=same, outputs=same, operators=[])
    )


def _written(op: Any) -> tuple[int, ...]:
    return schema.integers(op.outputs)


def _packed(model: Any, graph: Any) -> bytes:
    """A graph in place of a file's main one, with what of its constants is used."""
    others = [copy.copy(other) for other in model.subgraphs[1:]]
    for other in others:
        other.tensors = [copy.copy(tensor) for tensor in other.tensors]
    made = schema_types.ModelT(
        version=model.version,
        operatorCodes=model.operatorCodes,
        subgraphs=[graph, *others],
        buffers=model.buffers,
    )
    drop_orphans(made)
    return schema.pack(made)
