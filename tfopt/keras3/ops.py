"""The tf_keras layer for a `keras.ops` call, op by op.

An op in the table becomes a plain layer that techniques know (Add, ReLU, Rescaling, ...). To add
one, write a function `(call) -> (layer, inputs) | None` and put it in the table at the end. What is
not there, or returns None, may be in that of `tensorflow_ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tf_keras

from tfopt.keras2.graph import is_symbol
from tfopt.keras3.activations import counterpart
from tfopt.keras3.call import Call, constant

Plain = tuple[Any, Any]


def plain_layer(call: Call) -> Plain | None:
    """Returns the plain tf_keras layer for an op and what to call it on, None if there is none."""
    rule = _RULES.get(type(call.operation).__name__)
    if rule is None or call.kwargs or not call.args:
        return None
    return rule(call) if call.is_float else None


def _merge(cls: Any) -> Callable[[Call], Plain | None]:
    """Two tensors merged element by element."""

    def rule(call: Call) -> Plain | None:
        one, other = call.args
        if is_symbol(one) and is_symbol(other) and len(one.shape) == len(other.shape):
            return cls(name=call.name), [one, other]
        return None

    return rule


def _linear(
    of_tensors: Callable[[Call], Plain | None] | None, factors: Callable[[float, bool], Any]
) -> Callable[[Call], Plain | None]:
    """A tensor and a number become `Rescaling`: `factors` gives its scale and offset.

    Args:
        of_tensors: The rule for two tensors.
        factors: From the number, and whether it comes first, to (scale, offset), or None.
    """

    def rule(call: Call) -> Plain | None:
        one, other = call.args
        number = constant(one) if is_symbol(other) else constant(other)
        if number is None:
            return of_tensors(call) if of_tensors else None
        found = factors(number, is_symbol(other))
        if found is None:
            return None
        tensor = other if is_symbol(other) else one
        return tf_keras.layers.Rescaling(*found, name=call.name), tensor

    return rule


def _bound(cls: Any, sign: float) -> Callable[[Call], Plain | None]:
    """maximum(x, 0) is ReLU; of two tensors, the merging layer."""

    def rule(call: Call) -> Plain | None:
        one, other = call.args
        for tensor, value in ((one, other), (other, one)):
            if is_symbol(tensor) and constant(value) == 0.0 and sign > 0:
                return tf_keras.layers.ReLU(name=call.name), tensor
        return _merge(cls)(call)

    return rule


def _activation(name: str) -> Callable[[Call], Plain | None]:
    """An activation function at its default settings."""

    def rule(call: Call) -> Plain | None:
        operation = call.operation
        usual = (
            getattr(operation, "axis", -1) == -1
            and getattr(operation, "alpha", 1.0) == 1.0
            and getattr(operation, "b", 4) == 4
            and getattr(operation, "threshold", 0.5) == 0.5
        )
        if not usual:
            return None
        return tf_keras.layers.Activation(counterpart(name), name=call.name), call.x

    return rule


def _gelu(call: Call) -> Plain | None:
    function = counterpart("gelu_tanh" if call.operation.approximate else "gelu")
    return tf_keras.layers.Activation(function, name=call.name), call.x


def _cast(call: Call) -> Plain | None:
    """Every float is 32 bits wide here, so a cast between floats does nothing."""
    if "float" not in str(call.operation.dtype):
        return None
    return tf_keras.layers.Activation("linear", name=call.name), call.x


def _windows(kind: str) -> Callable[[Call], Plain | None]:
    """Pooling over windows."""

    def rule(call: Call) -> Plain | None:
        op = call.operation
        rank = len(call.x.shape) - 2
        if op.data_format == "channels_first":
            return None
        cls = getattr(tf_keras.layers, f"{kind}Pooling{rank}D")
        return cls(op.pool_size, op.strides, op.padding, name=call.name), call.x

    return rule


def _clip(call: Call) -> Plain | None:
    low, high = (constant(getattr(call.operation, key, None)) for key in ("x_min", "x_max"))
    if len(call.args) == 3:
        low, high = map(constant, call.args[1:])
    if low != 0.0 or high is None:
        return None
    return tf_keras.layers.ReLU(max_value=high, name=call.name), call.x


def _leaky_relu(call: Call) -> Plain | None:
    return tf_keras.layers.LeakyReLU(call.operation.negative_slope, name=call.name), call.x


def _softmax(call: Call) -> Plain | None:
    return tf_keras.layers.Softmax(axis=call.operation.axis, name=call.name), call.x


def _concatenate(call: Call) -> Plain | None:
    tensors = list(call.x)
    if not all(map(is_symbol, tensors)):
        return None
    return tf_keras.layers.Concatenate(axis=call.operation.axis, name=call.name), tensors


def _reshape(call: Call) -> Plain | None:
    """Only one that leaves the batch alone."""
    shape, before = call.output.shape, call.x.shape
    if None in shape[1:] or None in before[1:] or np.prod(shape[1:]) != np.prod(before[1:]):
        return None
    if shape[0] is not None and shape[0] != before[0]:
        return None
    return tf_keras.layers.Reshape(shape[1:], name=call.name), call.x


def _transpose(call: Call) -> Plain | None:
    return _in_order(call, call.operation.axes or ())


def _swapaxes(call: Call) -> Plain | None:
    order = list(range(len(call.x.shape)))
    one, other = call.operation.axis1, call.operation.axis2
    order[one], order[other] = order[other], order[one]
    return _in_order(call, order)


def _moveaxis(call: Call) -> Plain | None:
    rank = len(call.x.shape)
    ends = zip(call.operation.destination, call.operation.source, strict=True)
    moved = {to % rank: axis % rank for to, axis in ends}
    order = [axis for axis in range(rank) if axis not in moved.values()]
    for to in sorted(moved):
        order.insert(to, moved[to])
    return _in_order(call, order)


def _in_order(call: Call, axes: Sequence[int]) -> Plain | None:
    """The axes in another order, that of the samples the first."""
    order = [axis % len(call.x.shape) for axis in axes]
    if not order or order[0] != 0:
        return None
    return tf_keras.layers.Permute(order[1:], name=call.name), call.x


def _repeat(call: Call) -> Plain | None:
    """Each place of a sequence or an image several times."""
    times, rank = call.operation.repeats, len(call.x.shape)
    axis = call.operation.axis
    if not isinstance(times, int) or times < 1 or axis is None or rank not in (3, 4):
        return None
    if not 0 < axis % rank < rank - 1:
        return None
    if rank == 3:
        return tf_keras.layers.UpSampling1D(times, name=call.name), call.x
    size = (times, 1) if axis % rank == 1 else (1, times)
    layer = tf_keras.layers.UpSampling2D(size, data_format="channels_last", name=call.name)
    return layer, call.x


def _pooled(kind: str) -> Callable[[Call], Plain | None]:
    """A mean or maximum over all positions of a sequence, an image or a volume."""

    def rule(call: Call) -> Plain | None:
        rank = len(call.x.shape)
        axis = call.operation.axis
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        if None in axes or sorted(a % rank for a in axes) != list(range(1, rank - 1)):
            return None
        cls = getattr(tf_keras.layers, f"Global{kind}Pooling{rank - 2}D", None)
        if cls is None or getattr(call.operation, "initial", None) is not None:
            return None
        return cls(keepdims=call.operation.keepdims, name=call.name), call.x

    return rule


_RULES: dict[str, Callable[[Call], Plain | None]] = {
    **{
        name: _activation(function)
        for name, function in {
            "Elu": "elu", "Exp": "exponential", "Selu": "selu",
            "Sigmoid": "sigmoid", "Silu": "silu", "Softplus": "softplus", "Softsign": "softsign",
            "Tanh": "tanh", "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu",
            "HardTanh": "hard_tanh", "HardShrink": "hard_shrink", "SoftShrink": "soft_shrink",
            "TanhShrink": "tanh_shrink", "LogSigmoid": "log_sigmoid", "LogSoftmax": "log_softmax",
            "Celu": "celu", "Glu": "glu", "Squareplus": "squareplus", "SparsePlus": "sparse_plus",
            "SparseSigmoid": "sparse_sigmoid",
        }.items()
    },
    "Add": _linear(_merge(tf_keras.layers.Add), lambda number, first: (1.0, number)),
    "Amax": _pooled("Max"),
    "AveragePool": _windows("Average"),
    "Cast": _cast,
    "Clip": _clip,
    "Concatenate": _concatenate,
    "ExpandDims": _reshape,
    "Gelu": _gelu,
    "LeakyRelu": _leaky_relu,
    "Max": _pooled("Max"),
    "MaxPool": _windows("Max"),
    "Maximum": _bound(tf_keras.layers.Maximum, +1.0),
    "Mean": _pooled("Average"),
    "Minimum": _bound(tf_keras.layers.Minimum, -1.0),
    "Multiply": _linear(_merge(tf_keras.layers.Multiply), lambda number, first: (number, 0.0)),
    "Divide": _linear(None, lambda number, first: None if first else (1.0 / number, 0.0)),
    "TrueDivide": _linear(None, lambda number, first: None if first else (1.0 / number, 0.0)),
    "Moveaxis": _moveaxis,
    "Negative": lambda call: (tf_keras.layers.Rescaling(-1.0, name=call.name), call.x),
    "Relu": lambda call: (tf_keras.layers.ReLU(name=call.name), call.x),
    "Relu6": lambda call: (tf_keras.layers.ReLU(max_value=6.0, name=call.name), call.x),
    "Repeat": _repeat,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Squeeze": _reshape,
    "Subtract": _linear(
        _merge(tf_keras.layers.Subtract),
        lambda number, first: (-1.0, number) if first else (1.0, -number),
    ),
    "Swapaxes": _swapaxes,
    "Transpose": _transpose,
}  # fmt: skip
