"""What each Keras layer is in a `.tflite`: bytes, work, zeros, bits, and what it loses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tfopt.errors import TfoptError
from tfopt.measure.layers import LayerError, errors_of_layers
from tfopt.report import LayerFigures
from tfopt.tflite import kernels, naming, schema
from tfopt.tflite.inspect import inspect, layer_of
from tfopt.tflite.inspection import Op
from tfopt.tflite.kernels import Kernels

if TYPE_CHECKING:
    from tfopt.task import Task

_SAMPLES = 64


def layer_figures(
    content: bytes, model: Any, *, task: Task | None = None
) -> tuple[LayerFigures, ...]:
    """Sums up the ops of a file by the Keras layers they come from.

    Constants that several layers share count for the first. Layers that the converter has folded
    into others are not there; ops that no name leads to a layer from are summed up as "".

    Args:
        content: A file that tfopt converted.
        model: The tf_keras model it was made from.
        task: Gives samples to measure the layers' errors with; None leaves these out.

    Returns:
        The layers in the order of execution.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> model = small_cnn()
        >>> content = tfopt.convert(model, target=tfopt.Target.float32())
        >>> rows = layer_figures(content, model)
        >>> rows[0].layer, rows[0].kind, rows[0].weight_bits
        ('stem_conv', 'Conv2D', 32)
    """
    layers = {
        name: layer
        for name, layer in naming.layers_by_file_name(model).items()
        if type(layer).__name__ != "InputLayer"
    }
    by_layer: dict[str, list[Op]] = {}
    for op in inspect(content).ops:
        by_layer.setdefault(layer_of(op, layers) or "", []).append(op)
    errors = {} if task is None else _errors(content, model, task)
    constants, counted = _Constants(content), {0}
    return tuple(
        _figures(layers.get(name), ops, constants, counted, errors)
        for name, ops in by_layer.items()
    )


class _Constants:
    """The constants of a file.

    Args:
        content: The file.
    """

    def __init__(self, content: bytes) -> None:
        self._model, self._content = schema.unpack(content), content

    def buffers(self, ops: list[Op]) -> dict[int, tuple[Any, int]]:
        """The tensors that ops read, and their bytes, by the numbers of their buffers."""
        found = {}
        for tensor in (tensor for op in ops for tensor in op.inputs if tensor.constant):
            stored, data = self._stored(tensor)
            found[stored.buffer] = (stored, 0 if data is None else int(data.size))
        return found

    def kernels(self, ops: list[Op]) -> Kernels:
        """The kernels of ops."""
        stored = (self._stored(tensor) for op in ops for tensor in op.kernels)
        pairs = {tensor.buffer: (tensor, data) for tensor, data in stored if data is not None}
        return Kernels(self._content, tuple(pairs.values()))

    def _stored(self, tensor: Any) -> tuple[Any, Any]:
        found = self._model.subgraphs[tensor.subgraph].tensors[tensor.index]
        return found, schema.stored(self._model.buffers[found.buffer])


def _figures(
    layer: Any,
    ops: list[Op],
    constants: _Constants,
    counted: set[int],
    errors: dict[str, LayerError],
) -> LayerFigures:
    """The figures of one layer; `counted` are the buffers that layers before it have."""
    buffers = {
        number: found for number, found in constants.buffers(ops).items() if number not in counted
    }
    counted.update(buffers)
    learned = [tensor for tensor, _ in buffers.values() if kernels.is_learned(tensor)]
    own, error = constants.kernels(ops), errors.get(getattr(layer, "name", ""))
    inner = naming.seen_through(layer)
    return LayerFigures(
        layer=inner.name if inner is not None else "",
        kind=type(inner).__name__ if inner is not None else "",
        bytes=sum(size for _, size in buffers.values()),
        parameters=sum(math.prod(schema.integers(tensor.shape)) for tensor in learned),
        macs=sum(op.macs for op in ops),
        sparsity=own.sparsity() if own.tensors else None,
        unique_weights=own.unique_weights() if own.tensors else None,
        weight_bits=max((bits for op in ops if (bits := op.weight_bits)), default=None),
        sqnr_db=error.sqnr_db if error else None,
        lost_db=error.lost_db if error else None,
        advice=error.advice if error else "",
    )


def _errors(content: bytes, model: Any, task: Task) -> dict[str, LayerError]:
    """What the layers lose, by each of the layers an op computes; none if that is not known."""
    try:
        rows = errors_of_layers(content, model, task=task, samples=_SAMPLES).layers
    except TfoptError:  # no layer is found by its name, or the model cannot be run
        return {}
    return {name: row for row in reversed(rows) for name in (*row.fused, row.layer)}
