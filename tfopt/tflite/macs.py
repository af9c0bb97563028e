"""Multiply-accumulate operations of the ops of a `.tflite`, from their shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Shapes = Sequence[tuple[int, ...] | None]
"""The shapes of an op's inputs; None for one that is left out."""

_WEIGHTS = {
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "FULLY_CONNECTED": (1,),
    "TRANSPOSE_CONV": (1,),
    "CONV_3D": (1,),
    "CONV_3D_TRANSPOSE": (1,),
    "BATCH_MATMUL": (0, 1),
    "EMBEDDING_LOOKUP": (1,),
    "GATHER": (0,),
    "SVDF": (1, 2),
    "RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6),
    "LSTM": (*range(1, 9), 16),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16, *range(18, 26), 33),
}


def kernel_positions(op: str) -> tuple[int, ...]:
    """Returns which inputs of an op are kernels (or the table of an embedding), if constant.

    Example:
        >>> kernel_positions("CONV_2D"), kernel_positions("ADD")
        ((1,), ())
    """
    return _WEIGHTS.get(op, ())


def count(op: str, inputs: Shapes, outputs: Shapes, options: Any = None) -> int:
    """Returns the multiply-accumulate operations of one run of an op; 0 for one without any.

    A dimension that the file leaves open counts as the file stores it, which is 1.

    Args:
        op: The op's name.
        inputs: The shapes of its inputs, at their places.
        outputs: The shapes of its outputs.
        options: The op's options, as in the flatbuffer.

    Example:
        >>> count("CONV_2D", [(1, 8, 8, 3), (4, 3, 3, 3), (4,)], [(1, 6, 6, 4)])
        3888
    """
    formula = _FORMULAS.get(op)
    if formula is None or len(inputs) < 2 or not outputs:
        return 0
    try:
        return formula(inputs, outputs, options)
    except (IndexError, TypeError):  # an op of fewer inputs or dimensions than it should have
        return 0


def _each_output(weights: slice) -> Callable[[Shapes, Shapes, Any], int]:
    """Each element of the output takes one window of the kernel."""

    def formula(inputs: Shapes, outputs: Shapes, options: Any) -> int:
        return math.prod(outputs[0] or ()) * math.prod((inputs[1] or ())[weights])

    return formula


def _fully_connected(inputs: Shapes, outputs: Shapes, options: Any) -> int:
    units, width = inputs[1] or ()
    return math.prod(inputs[0] or ()) // max(width, 1) * units * width


def _each_input(weights: slice) -> Callable[[Shapes, Shapes, Any], int]:
    """Each element of the input goes into one window of the output: transposed convolutions."""

    def formula(inputs: Shapes, outputs: Shapes, options: Any) -> int:
        kernel = inputs[1] or ()
        return math.prod(inputs[2] or ()) * math.prod(kernel[weights])

    return formula


def _batch_matmul(inputs: Shapes, outputs: Shapes, options: Any) -> int:
    left = inputs[0] or ()
    return math.prod(outputs[0] or ()) * left[-2 if getattr(options, "adjX", False) else -1]


def _recurrent(op: str, *, sequence: bool) -> Callable[[Shapes, Shapes, Any], int]:
    """Every step multiplies every kernel once."""

    def formula(inputs: Shapes, outputs: Shapes, options: Any) -> int:
        kernels = (inputs[i] for i in kernel_positions(op) if i < len(inputs))
        each_step = sum(math.prod(shape) for shape in kernels if shape is not None)
        steps = math.prod((inputs[0] or ())[: 2 if sequence else 1])
        return steps * each_step

    return formula


_FORMULAS: dict[str, Callable[[Shapes, Shapes, Any], int]] = {
    "CONV_2D": _each_output(slice(1, 4)),
    "DEPTHWISE_CONV_2D": _each_output(slice(1, 3)),
    "CONV_3D": _each_output(slice(0, 4)),
    "TRANSPOSE_CONV": _each_input(slice(0, 3)),
    "CONV_3D_TRANSPOSE": _each_input(slice(0, 4)),
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    **{
        op: _recurrent(op, sequence="SEQUENCE" in op)
        for op in _WEIGHTS
        if op.endswith(("LSTM", "RNN", "SVDF"))
    },
}
