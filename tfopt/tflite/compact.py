"""Scales, biases and weights of an 8-bit file in few digits: it deflates smaller."""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from tfopt.tflite import schema
from tfopt.tflite.finishing import drop_orphans
from tfopt.tflite.int4 import grid_steps

_KERNEL_BITS = 7  # a channel's outputs change by 0.8 % at most, by 0.3 % in the mean
_ACTIVATION_BITS = 8
_BIAS_STEPS = 4  # of a bias, in one step of the output

# The places of input, kernel and bias of the ops that have all three.
_PLACES = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


@dataclasses.dataclass(frozen=True)
class _Layer:
    """The numbers of the tensors of an op that multiplies activations by a kernel."""

    input: int
    kernel: int
    bias: int
    output: int


def compact(content: bytes) -> bytes:
    """Rounds a file's scales and biases to few digits, which moves its outputs as 8 bits do.

    The file stays about as large, and as fast, but what an app's package stores of it, deflated,
    gets smaller: each channel has a scale, a bias and the bias's scale, 12 bytes that hardly
    compress. Outputs move by about as much as rounding to 8 bits has cost them: measure it.

    - The scale of a kernel's channel keeps 7 significant bits, that of an activation 8; those of
      inputs, outputs and other constants stay. A bias has the product of both.
    - A bias becomes a multiple of a power of two, a quarter of a step of the output at most.
    - Weights that lie on a grid of 4 bits are stored as the grid's integers, where that leaves the
      bias such steps: -7 to 7 instead of -127 to 127.

    Args:
        content: A file with 8-bit activations; what computes in other numbers stays.

    Returns:
        The file, of the same ops, tensors and shapes; as it was, where it would not deflate
        smaller.

    Example:
        >>> import zlib
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), task=tfopt.Task.digits(),
        ...                        target=tfopt.Target.int8(refine=False))
        >>> len(zlib.compress(compact(tflite))) < len(zlib.compress(tflite))
        True

    References:
        The LiteRT 8-bit quantization specification (which tensors' scales depend on which); Jacob
        et al., CVPR 2018, equation 11 (a bias is added in steps of input times kernel).
    """
    model = schema.unpack(content)
    for graph in model.subgraphs:
        layers = _layers(graph, model)
        reals = {layer.bias: _real_bias(graph.tensors[layer.bias], model) for layer in layers}
        # the tensors of one subgraph can stand for those of another
        if len(model.subgraphs) == 1:
            _shorten_activations(graph, model, layers)
        for kernel in dict.fromkeys(layer.kernel for layer in layers):
            _shorten_kernel(graph, model, [layer for layer in layers if layer.kernel == kernel])
        for group in _with_one_bias(graph, layers):
            steps = np.min([_output_steps(graph, layer) for layer in group], axis=0)
            for layer in group:
                _shorten_bias(graph, model, layer, reals[layer.bias], steps)
    _share_buffers(model)
    drop_orphans(model)
    made = schema.pack(model)
    return made if len(zlib.compress(made, 9)) < len(zlib.compress(content, 9)) else content


def shortened(scales: np.ndarray, bits: int, *, up: bool) -> np.ndarray:
    """Returns scales with so many significant bits.

    Args:
        scales: Positive numbers.
        bits: How many of them are kept.
        up: Whether to round up instead of to nearest, so that no range shrinks.

    Example:
        >>> shortened(np.array([0.3, 1.0, 5.1]), 2, up=False).tolist()
        [0.25, 1.0, 6.0]
    """
    mantissas, exponents = np.frexp(np.asarray(scales, np.float64))
    rounded = (np.ceil if up else np.rint)(mantissas * 2**bits)
    return np.ldexp(rounded, exponents - bits)


def _layers(graph: Any, model: Any) -> list[_Layer]:
    """The 8-bit ops whose kernel and bias are constants that no other kind of op reads."""
    readers = Counter(index for op in graph.operators or [] for index in schema.integers(op.inputs))
    found = []
    for op in graph.operators or []:
        places = _PLACES.get(schema.op_name(model.operatorCodes[op.opcodeIndex]), ())
        inputs = schema.integers(op.inputs)
        if not places or len(inputs) <= places[-1] or inputs[places[-1]] < 0:
            continue
        read, kernel, bias = (inputs[place] for place in places)
        layer = _Layer(read, kernel, bias, schema.integers(op.outputs)[0])
        constant = [_is_constant(graph.tensors[at], model) for at in (kernel, bias)]
        narrow = all(_is_8_bit(graph.tensors[at]) for at in (layer.input, layer.output))
        if narrow and all(constant) and readers[bias] == 1:
            found.append(layer)
    kernels = Counter(layer.kernel for layer in found)
    outputs = schema.integers(graph.outputs)
    return [
        layer
        for layer in found
        if kernels[layer.kernel] == readers[layer.kernel] and layer.kernel not in outputs
    ]


def _shorten_activations(graph: Any, model: Any, layers: list[_Layer]) -> None:
    """Rounds the scales of what ops hand on.

    Equal scales stay equal, as some ops need them: what must keep its scale keeps it wherever
    another tensor has the same.
    """
    own = {at for layer in layers for at in (layer.kernel, layer.bias)}
    kept = {*schema.integers(graph.inputs), *schema.integers(graph.outputs)}
    for op in graph.operators or []:
        inputs = [at for at in schema.integers(op.inputs) if at >= 0]
        # of a bias of another op, or a recurrent one's gates: made of the scales of its neighbours
        if any(_is_sum(graph.tensors[at], model) and at not in own for at in inputs):
            kept |= {*inputs, *schema.integers(op.outputs), *schema.integers(op.intermediates)}
    for at, tensor in enumerate(graph.tensors):
        if at not in own and _is_constant(tensor, model):
            kept.add(at)
    values = {scale for at in kept for scale in _scales(graph.tensors[at]).tolist()}
    for at, tensor in enumerate(graph.tensors):
        scales = _scales(tensor)
        if at not in own and _is_8_bit(tensor) and not values & set(scales.tolist()):
            schema.set_scales(tensor, shortened(scales, _ACTIVATION_BITS, up=True))


def _shorten_kernel(graph: Any, model: Any, readers: list[_Layer]) -> None:
    """Rounds the scales of a kernel, and stores weights on a grid as its integers."""
    tensor = graph.tensors[readers[0].kernel]
    scales = _scales(tensor)
    symmetric = not any(schema.zero_points(tensor))
    if schema.type_name(tensor.type) == "int8" and tensor.sparsity is None and symmetric:
        axis = schema.channel_axis(tensor)
        weights = np.moveaxis(schema.values(model.buffers[tensor.buffer].data, tensor), axis, 0)
        steps = grid_steps(weights.reshape(len(scales), -1))
        fine = np.min([_output_steps(graph, layer) for layer in readers], axis=0) / steps
        steps = np.where(fine >= _BIAS_STEPS, steps, 1.0)  # also where there is no grid: NaN
        if (steps != 1).any():
            integers = np.rint(weights / steps.reshape(-1, *[1] * (weights.ndim - 1)))
            whole = np.ascontiguousarray(np.moveaxis(integers.astype(np.int8), 0, axis))
            tensor.buffer = schema.add_buffer(model, whole.view(np.uint8).reshape(-1))
            scales = scales * steps
    schema.set_scales(tensor, shortened(scales, _KERNEL_BITS, up=False))


def _with_one_bias(graph: Any, layers: list[_Layer]) -> list[list[_Layer]]:
    """The layers, those together that have a kernel and a bias in common: of an unrolled layer."""
    groups: dict[tuple[int, int], list[_Layer]] = defaultdict(list)
    for layer in layers:
        groups[layer.kernel, graph.tensors[layer.bias].buffer].append(layer)
    return list(groups.values())


def _output_steps(graph: Any, layer: _Layer) -> np.ndarray:
    """How many steps of a bias make one of the output."""
    read, kernel, made = (
        _scales(graph.tensors[at]) for at in (layer.input, layer.kernel, layer.output)
    )
    steps: np.ndarray = made[0] / (read[0] * kernel)
    return steps


def _shorten_bias(
    graph: Any, model: Any, layer: _Layer, real: np.ndarray, steps: np.ndarray
) -> None:
    """Stores a bias in steps of its new scale, as multiples of what shows in the output."""
    tensor = graph.tensors[layer.bias]
    scales = _scales(graph.tensors[layer.input])[0] * _scales(graph.tensors[layer.kernel])
    unit = 2.0 ** np.floor(np.log2(np.maximum(steps / _BIAS_STEPS, 1.0)))
    kind = np.iinfo(schema.type_name(tensor.type))
    # the converter gives the bias of a channel that is nearly dead all the digits there are
    numbers = np.clip(np.rint(real / (scales * unit)) * unit, kind.min, kind.max)
    tensor.buffer = schema.add_buffer(model, numbers.astype(kind.dtype).view(np.uint8))
    schema.set_scales(tensor, scales)


def _share_buffers(model: Any) -> None:
    """Lets equal constants have one buffer, as those of the steps of an unrolled layer had."""
    first: dict[bytes, int] = {}
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        data = schema.stored(model.buffers[tensor.buffer])
        if data is not None:
            tensor.buffer = first.setdefault(data.tobytes(), tensor.buffer)


def _real_bias(tensor: Any, model: Any) -> np.ndarray:
    """What a bias stands for."""
    numbers: np.ndarray = schema.values(model.buffers[tensor.buffer].data, tensor)
    return numbers.astype(np.float64) * _scales(tensor)


def _is_constant(tensor: Any, model: Any) -> bool:
    return schema.is_constant(model.buffers[tensor.buffer])


def _is_8_bit(tensor: Any) -> bool:
    return schema.type_name(tensor.type) in ("int8", "uint8") and _scales(tensor).size > 0


def _is_sum(tensor: Any, model: Any) -> bool:
    """Whether a constant is added to products, and has their scale."""
    wide = schema.type_name(tensor.type) in ("int32", "int64")
    return wide and _is_constant(tensor, model) and _scales(tensor).size > 0


def _scales(tensor: Any) -> np.ndarray:
    return np.array(schema.scales(tensor))
