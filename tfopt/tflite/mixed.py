"""Some ops of an int8 file with 16-bit activations, spliced in from an int16x8 file."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema_types

from tfopt.errors import ConversionError
from tfopt.tflite import schema
from tfopt.tflite.finishing import drop_orphans
from tfopt.tflite.inspect import inspect
from tfopt.tflite.inspection import Op

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_QUANTIZE_TO_INT16 = 2  # the version of QUANTIZE that knows 16 bits


def spliced(narrow: bytes, wide: bytes, *, chosen: Callable[[Op], bool]) -> bytes:
    """Returns a file that computes some ops with 16-bit activations.

    They come from the same model converted to 16-bit activations, with their scales. QUANTIZE ops
    stand where the two meet.

    Args:
        narrow: The model with 8-bit activations.
        wide: The same model with 16-bit activations.
        chosen: Which ops of the narrow file are to be wide.

    Raises:
        ConversionError: An op has no counterpart with 16-bit activations.
    """
    return _Splice(narrow, wide, chosen).content()


class _Splice:
    """A narrow file's main subgraph while ops of it become wide.

    Args:
        narrow: The file with 8-bit activations.
        wide: The file with 16-bit activations.
        chosen: Which ops are to be wide.
    """

    def __init__(self, narrow: bytes, wide: bytes, chosen: Callable[[Op], bool]) -> None:
        self._narrow, self._wide = schema.unpack(narrow), schema.unpack(wide)
        self._graph, self._source = self._narrow.subgraphs[0], self._wide.subgraphs[0]
        self._pairs = _pairs(narrow, wide, chosen)
        self._twins: dict[int, int] = {}  # of the wide file's tensors, in the narrow one
        # what the wide file turns from 16 bits to 16 bits of another scale, by what becomes of it
        self._rescaled = {
            int(op.outputs[0]): int(op.inputs[0])
            for op in self._source.operators
            if schema.op_name(self._wide.operatorCodes[op.opcodeIndex]) == "QUANTIZE"
        }

    def content(self) -> bytes:
        """Splices, and returns the file."""
        operators, self._graph.operators = self._graph.operators, []
        wanted = set(schema.integers(self._graph.outputs))
        for index, operator in enumerate(operators):
            if index not in self._pairs:
                wanted.update(schema.integers(operator.inputs))
        for index, operator in enumerate(operators):
            if index in self._pairs:
                self._widen(operator, self._source.operators[self._pairs[index]], wanted)
            else:
                self._graph.operators.append(operator)
        _drop_unread(self._narrow)
        drop_orphans(self._narrow)
        return schema.pack(self._narrow)

    def _widen(self, operator: Any, source: Any, wanted: set[int]) -> None:
        """Puts the wide op at the end, with conversions of what it reads and others read of it."""
        made = copy.copy(source)
        narrow, wide = schema.integers(operator.inputs), schema.integers(source.inputs)
        reads = [self._read(n, w) for n, w in zip(narrow, wide, strict=True)]
        made.inputs = np.array(reads, np.int32)
        made.opcodeIndex = self._code(self._wide.operatorCodes[source.opcodeIndex])
        narrow, wide = schema.integers(operator.outputs), schema.integers(source.outputs)
        made.outputs = np.array(
            [self._written(n, w) for n, w in zip(narrow, wide, strict=True)], np.int32
        )
        self._graph.operators.append(made)
        for before, after in zip(narrow, made.outputs, strict=True):
            if before in wanted and before != after:
                self._convert(int(after), before)

    def _read(self, narrow: int, wide: int) -> int:
        """The tensor that a wide op reads: the same if it is no activation, else its twin."""
        if wide < 0 or wide in self._twins:
            return self._twins.get(wide, wide)
        tensor = self._source.tensors[wide]
        if schema.is_constant(self._wide.buffers[tensor.buffer]):
            return self._twin(wide)
        if tensor.type == self._graph.tensors[narrow].type:
            return narrow
        origin = self._twins.get(self._rescaled.get(wide, -1), narrow)
        twin = self._twin(wide)
        self._convert(origin, twin)
        return twin

    def _written(self, narrow: int, wide: int) -> int:
        same = self._source.tensors[wide].type == self._graph.tensors[narrow].type
        return narrow if same else self._twin(wide)

    def _twin(self, wide: int) -> int:
        """Copies a tensor of the wide file, and its values if it is constant."""
        tensor = copy.deepcopy(self._source.tensors[wide])
        data = schema.stored(self._wide.buffers[tensor.buffer])
        tensor.buffer = 0 if data is None else schema.add_buffer(self._narrow, data)
        self._graph.tensors.append(tensor)
        self._twins[wide] = len(self._graph.tensors) - 1
        return self._twins[wide]

    def _convert(self, read: int, written: int) -> None:
        """Puts a QUANTIZE at the end."""
        number = schema_types.BuiltinOperator.QUANTIZE
        code = schema_types.OperatorCodeT(
            builtinCode=number, deprecatedBuiltinCode=number, version=_QUANTIZE_TO_INT16
        )
        self._graph.operators.append(
            schema_types.OperatorT(
                opcodeIndex=self._code(code),
                inputs=np.array([read], np.int32),
                outputs=np.array([written], np.int32),
            )
        )

    def _code(self, code: Any) -> int:
        """The number of an op's code in the narrow file, which is added if it is not there."""
        for index, known in enumerate(self._narrow.operatorCodes):
            if schema.op_name(known) == schema.op_name(code) and known.version == code.version:
                return index
        self._narrow.operatorCodes.append(copy.copy(code))
        return len(self._narrow.operatorCodes) - 1


def _pairs(narrow: bytes, wide: bytes, chosen: Callable[[Op], bool]) -> dict[int, int]:
    """The ops to splice: of the main subgraph, by number, with their counterparts' numbers."""
    ops, others = _computing(narrow), _computing(wide)
    pairs = {
        op.index: _counterpart(op, others.get(key))
        for key, op in ops.items()
        if chosen(op) and any(t.dtype == "int8" for t in (*op.inputs, *op.outputs))
    }
    conversions, theirs = _conversions(narrow), _conversions(wide)
    for key in conversions.keys() & theirs.keys():
        op = conversions[key]
        inside = op.outputs if op.name == "QUANTIZE" else op.inputs
        users = [
            other
            for other in (*ops.values(), *conversions.values())
            if other is not op and any(t in (*other.inputs, *other.outputs) for t in inside)
        ]
        if all(user.index in pairs for user in users):
            pairs[op.index] = theirs[key].index
    return pairs


def _computing(tflite: bytes) -> dict[tuple[str, int, int], Op]:
    """The ops of the main subgraph, but for conversions, by kind, how many there are, and place.

    Two conversions of one model keep the order of ops, but not the names of all tensors.
    """
    ops = [op for op in inspect(tflite).ops if not op.subgraph and op.name not in _CONVERSIONS]
    counts = Counter(op.name for op in ops)
    seen = Counter[str]()
    found = {}
    for op in ops:
        found[op.name, counts[op.name], seen[op.name]] = op
        seen[op.name] += 1
    return found


def _conversions(tflite: bytes) -> dict[tuple[str, str], Op]:
    """The ops that turn the file's inputs and outputs from and to floating point, by these."""
    found = {}
    for op in inspect(tflite).ops:
        outside = op.inputs if op.name == "QUANTIZE" else op.outputs
        if op.name in _CONVERSIONS and outside[0].is_float:
            found[op.name, outside[0].name] = op
    return found


def _counterpart(op: Op, wide: Op | None) -> int:
    """The number of an op's counterpart, which must read or write 16 bits."""
    kinds = {tensor.dtype for tensor in (*wide.inputs, *wide.outputs)} if wide is not None else ()
    if wide is None or wide.layer != op.layer or "int16" not in kinds:
        raise ConversionError(
            received=f"{op}, of which the conversion to 16-bit activations makes "
            + (str(wide) if wide is not None else "other ops"),
            expected="layers in keep_int16 whose ops have kernels for 16-bit activations",
            fix=f"take layer {op.layer!r} out of keep_int16, or name it in keep_float",
        )
    return wide.index


def _drop_unread(model: Any) -> None:
    """Drops tensors of the main subgraph that nothing refers to, and numbers the others anew."""
    graph = model.subgraphs[0]
    lists = [graph.inputs, graph.outputs]
    for op in graph.operators:
        lists += [op.inputs, op.outputs]
    kept = sorted({index for numbers in lists for index in schema.integers(numbers)} - {-1})
    places = {-1: -1} | {old: new for new, old in enumerate(kept)}

    def moved(numbers: Any) -> np.ndarray:
        return np.array([places[index] for index in schema.integers(numbers)], np.int32)

    graph.tensors = [graph.tensors[index] for index in kept]
    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for op in graph.operators:
        op.inputs, op.outputs = moved(op.inputs), moved(op.outputs)
    for signature in model.signatureDefs or []:
        for entry in (*signature.inputs, *signature.outputs) if not signature.subgraphIndex else ():
            entry.tensorIndex = places[entry.tensorIndex]
