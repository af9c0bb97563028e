"""Memory that the activations of a `.tflite` take at once, from the file alone."""

from __future__ import annotations

import math
from typing import Any

from tfopt.tflite import schema

_ALIGNMENT = 16  # of tensors in the arena, as TensorFlow Lite Micro plans it
_BITS = {"bool": 8, "int4": 4, "uint4": 4, "int2": 2, "complex64": 64, "complex128": 128}
_BITS |= {f"{kind}{bits}": bits for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
_BITS |= {"float16": 16, "bfloat16": 16, "float32": 32, "float64": 64}
_BITS |= {"float8_e4m3fn": 8, "float8_e5m2": 8}
# Ops that run other subgraphs, and the options that name these.
_CALLS = ("condSubgraphIndex", "bodySubgraphIndex", "thenSubgraphIndex", "elseSubgraphIndex")


def arena_bytes(model: Any) -> int:
    """Returns the largest sum of tensors that are alive at one op: the least RAM for activations.

    A tensor is alive from the op that writes it to the last one that reads it; inputs of the model
    from the start, its outputs to the end, the states of recurrent layers all the time. Each takes
    a multiple of 16 bytes, as TensorFlow Lite Micro plans. What kernels need besides, and the
    interpreter's own records, come on top; a planner that finds no gap of the right size takes
    more.

    Args:
        model: The unpacked flatbuffer. Sizes that the file leaves open count as it stores them:
            one sample.

    References:
        Y. Pisarchyk and J. Lee, "Efficient Memory Management for Deep Neural Net Inference",
        arXiv:2001.03288 (2020), section 4: the lower bound.
    """
    return max(live_bytes(model), default=0)


def live_bytes(model: Any) -> list[int]:
    """Returns the bytes of activations that are alive at each op of the main subgraph.

    Args:
        model: The unpacked flatbuffer.
    """
    return _live(model, 0, known={})


def _live(model: Any, number: int, known: dict[int, int]) -> list[int]:
    """The bytes alive at each op of a subgraph.

    Args:
        model: The unpacked flatbuffer.
        number: The subgraph.
        known: The peaks of the subgraphs that were looked at.
    """
    graph = model.subgraphs[number]
    operators, tensors = graph.operators or [], graph.tensors or []
    change = [0] * (len(operators) + 1)
    for index, (first, last) in _lives(graph, model).items():
        size = tensor_bytes(tensors[index])
        change[first] += size
        change[last + 1] -= size
    alive, found = 0, []
    for place, operator in enumerate(operators):
        alive += change[place]
        found.append(alive + _called(operator, model, known))
    return found


def _lives(graph: Any, model: Any) -> dict[int, tuple[int, int]]:
    """From which op to which a tensor is alive, by its number; constants are not."""
    end = len(graph.operators or []) - 1
    if end < 0:
        return {}
    lives: dict[int, tuple[int, int]] = {index: (0, 0) for index in schema.integers(graph.inputs)}
    for place, operator in enumerate(graph.operators):
        for index in (*schema.integers(operator.inputs), *schema.integers(operator.outputs)):
            lives[index] = (lives.get(index, (place, place))[0], place)
    for index in schema.integers(graph.outputs):
        lives[index] = (lives.get(index, (0, 0))[0], end)
    states = {index for index, tensor in enumerate(graph.tensors) if tensor.isVariable}
    lives |= dict.fromkeys(states, (0, end))
    constants = {
        index
        for index, tensor in enumerate(graph.tensors)
        if schema.is_constant(model.buffers[tensor.buffer])
    }
    return {index: life for index, life in lives.items() if index >= 0 and index not in constants}


def _called(operator: Any, model: Any, known: dict[int, int]) -> int:
    """What the subgraphs that an op runs need, one after the other."""
    options = operator.builtinOptions
    named = {getattr(options, name) for name in _CALLS if hasattr(options, name)}
    numbers = named & set(range(1, len(model.subgraphs)))
    for number in numbers - known.keys():
        known[number] = 0  # while it is looked at: a subgraph cannot hold itself
        known[number] = max(_live(model, number, known), default=0)
    return max((known[number] for number in numbers), default=0)


def tensor_bytes(tensor: Any) -> int:
    """Returns what a tensor takes in the arena; 0 for one that is no array of numbers.

    Args:
        tensor: The flatbuffer's tensor.
    """
    bits = _BITS.get(schema.type_name(tensor.type), 0)
    size = -(-math.prod(schema.integers(tensor.shape)) * bits // 8)
    return -(-size // _ALIGNMENT) * _ALIGNMENT
