"""The 8-bit weights of an integer file as 4-bit ones: half the bytes, run by the same ops."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema_types

from tfopt.tflite import four_bit_ops, schema
from tfopt.tflite.finishing import drop_orphans
from tfopt.tflite.inspect import inspect
from tfopt.tflite.inspection import Op

LARGEST = 7
"""The largest magnitude of a 4-bit weight: symmetric, without the one more below zero."""

_KERNEL, _BIAS = 1, 2  # which inputs of the ops are what
_HALF_STEP = 0.5 + 1e-6  # by which the 8-bit weights are off at most


def pack_weights(tflite: bytes, *, keep: Callable[[Op], bool]) -> bytes:
    """Makes the weights of convolutions and dense layers 4-bit, where kernels run them.

    Weights that lie on a grid of 15 values a channel, symmetric around zero, are stored exactly.
    Others are rounded to the grid that their largest magnitude spans. What keeps 8 bits is told by
    `tfopt.inspect`: ops without such kernels, with other activations, or whose weights are shared
    with such ops. Biases stay in 32 bits, in steps of the new scale.

    Args:
        tflite: A file with int8 activations and weights.
        keep: Which ops keep 8 bits though they need not.

    Returns:
        The file, with weights of half the bytes.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), task=tfopt.Task.digits(),
        ...                        target=tfopt.Target.int8(refine=False))
        >>> packed = inspect(pack_weights(tflite, keep=lambda op: op.layer == "stem_conv"))
        >>> [op.weight_bits for op in packed.ops]
        [8, 4, None, 4, None]

    References:
        Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018,
        section 2 (symmetric, per channel); the LiteRT 8-bit quantization specification.
    """
    ops = inspect(tflite).ops
    kept = {_kernel_of(op) for op in ops if op.kernels and keep(op)}
    chosen = [op for op in four_bit_ops.able(ops) if _kernel_of(op) not in kept]
    model = schema.unpack(tflite)
    factors = {at: _pack(model, *at) for at in dict.fromkeys(map(_kernel_of, chosen))}
    for op in chosen:
        graph = model.subgraphs[op.subgraph]
        operator = graph.operators[op.index]
        _rescale_bias(model, graph, operator, factors[_kernel_of(op)])
        code = model.operatorCodes[operator.opcodeIndex]
        code.version = max(code.version, four_bit_ops.VERSIONS[op.name])
    drop_orphans(model)
    return schema.pack(model)


def to_4_bits(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds 4-bit weights for 8-bit ones.

    A channel whose weights all lie on a grid, but for the rounding to 8 bits, gets that grid: also
    one that rounding to nearest left without its largest integer.

    Args:
        weights: Integers of 8 bits, (channels, weights of a channel), zero meaning zero.

    Returns:
        The integers, -7 to 7, and what one step is worth in the 8-bit steps of each channel.

    Example:
        >>> weights, steps = to_4_bits(np.array([[127, -54, 36, 0], [127, -50, 35, 9]]))
        >>> weights.tolist(), steps.round(2).tolist()
        ([[7, -3, 2, 0], [7, -3, 2, 0]], [18.14, 18.14])
    """
    steps = grid_steps(weights)
    steps = np.where(np.isnan(steps), np.maximum(_largest(weights) / LARGEST, 1.0), steps)
    return np.rint(weights / steps[:, None]).astype(np.int8), steps


def grid_steps(weights: np.ndarray) -> np.ndarray:
    """Finds the 4-bit grids that 8-bit weights lie on, but for the rounding to 8 bits.

    Args:
        weights: Integers of 8 bits, (channels, weights of a channel), zero meaning zero.

    Returns:
        What one step of each channel's grid is worth in 8-bit steps; NaN for one on no grid.

    Example:
        >>> grid_steps(np.array([[127, -54, 36, 0], [127, -50, 35, 9]])).round(2).tolist()
        [18.14, nan]
    """
    values, largest = weights.astype(np.float64), _largest(weights)
    steps = np.full(len(values), np.nan)
    for count in range(1, LARGEST + 1):  # the finest grid that fits comes last
        step = largest / count
        off = np.abs(values - np.rint(values / step[:, None]) * step[:, None])
        fits = (off.max(axis=1, initial=0.0) <= _HALF_STEP) & (step >= 1)  # else biases would grow
        steps = np.where(fits, step, steps)
    return steps


def _largest(weights: np.ndarray) -> np.ndarray:
    """The largest magnitude of each channel; of one of zeros, any."""
    largest = np.abs(weights.astype(np.float64)).max(axis=1, initial=0.0)
    return np.where(largest == 0, LARGEST, largest)


def nibbles(weights: np.ndarray) -> np.ndarray:
    """Packs 4-bit integers two to a byte, the first in the lower half.

    Example:
        >>> nibbles(np.array([1, -1, 7], np.int8)).tolist()
        [241, 7]
    """
    bits = np.append(weights.reshape(-1), np.zeros(weights.size % 2, np.int8)).view(np.uint8) & 15
    packed: np.ndarray = bits[::2] | bits[1::2] << 4
    return packed


def _kernel_of(op: Op) -> tuple[int, int]:
    """The subgraph and number of the tensor that an op's weights are in."""
    return op.subgraph, op.kernels[0].index


def _pack(model: Any, subgraph: int, index: int) -> np.ndarray:
    """Stores a kernel in 4 bits; returns what a step is worth in steps of before, per scale."""
    tensor = model.subgraphs[subgraph].tensors[index]
    weights = schema.values(model.buffers[tensor.buffer].data, tensor)
    scales, axis = np.array(schema.scales(tensor)), schema.channel_axis(tensor)
    grouped = np.moveaxis(weights, axis, 0)
    packed, steps = to_4_bits(grouped.reshape(len(scales), -1))
    whole = np.moveaxis(packed.reshape(grouped.shape), 0, axis)
    tensor.buffer = schema.add_buffer(model, nibbles(np.ascontiguousarray(whole)))
    tensor.type = schema_types.TensorType.INT4
    schema.set_scales(tensor, scales * steps)
    return steps


def _rescale_bias(model: Any, graph: Any, operator: Any, steps: np.ndarray) -> None:
    """Gives an op a bias in steps of its new scale: its own, if others share it."""
    if len(operator.inputs) <= _BIAS or operator.inputs[_BIAS] < 0:
        return
    index = int(operator.inputs[_BIAS])
    if sum(index in schema.integers(other.inputs) for other in graph.operators) > 1:
        graph.tensors.append(copy.deepcopy(graph.tensors[index]))
        index = len(graph.tensors) - 1
        operator.inputs = np.array(operator.inputs, np.int32)
        operator.inputs[_BIAS] = index
    tensor = graph.tensors[index]
    bias = schema.values(model.buffers[tensor.buffer].data, tensor).astype(np.float64)
    scales = np.array(schema.scales(tensor))
    numbers = np.rint(bias / steps).astype(np.int32)  # no step is below 1: they still fit
    tensor.buffer = schema.add_buffer(model, numbers.view(np.uint8))
    schema.set_scales(tensor, scales * steps)
