"""What each kind of layer does with channels: those that only move, merge or cut tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.graph.calls import outputs
from tfopt.graph.dependencies.call import Call, CannotSlice
from tfopt.graph.dependencies.channels import Count, Ids
from tfopt.keras_gate import tf_keras

_layers = tf_keras.layers


def passed(call: Call) -> Ids:
    """Each channel comes out where it went in."""
    return call.ids


def merged(call: Call) -> Ids:
    """What is added, multiplied or compared element by element goes together."""
    widest = max(call.inputs, key=len)
    for tensor, ids in zip(call.node.keras_inputs, call.inputs, strict=True):
        if len(ids) == len(widest):
            call.channels.tie(widest, ids)
        elif len(ids) == 1:
            call.channels.pin(ids, f"{call.name} repeats it over all channels")
        else:
            raise CannotSlice(tensor)
    return widest


def concatenated(call: Call) -> Ids:
    """Channels lie one input after another; along another axis, one input over another."""
    return _joined(call, call.layer.axis)


def _joined(call: Call, axis: int | None) -> Ids:
    """Tensors along an axis of theirs; None for another one than that of the channels."""
    if axis is not None and call.is_last(axis):
        return np.concatenate(call.inputs)
    for other in call.inputs[1:]:
        call.channels.tie(call.ids, other)
    return call.ids


def reshaped(call: Call) -> Ids:
    """The channels of a reshaped tensor, where each lies at a fixed distance from the next."""
    before, after = call.input_shape[-1], call.output_shape[-1]
    if before is None or after is None:
        raise CannotSlice
    if after % before == 0:  # Flatten: the channels follow one another again and again
        out = np.tile(call.ids, after // before)
    elif before % after == 0:  # the other way round
        out = call.ids[:after]
        call.channels.tie(call.ids, np.tile(out, before // after))
    else:
        raise CannotSlice
    if "target_shape" in call.layer.get_config():
        target = [-1 if size is None else size for size in call.output_shape[1:]]
        call.channels.sets(call.layer, "target_shape", out, target)
    return out


def permuted(call: Call) -> Ids:
    """Channels that stay last."""
    if call.layer.dims[-1] != len(call.layer.dims):
        raise CannotSlice
    return call.ids


def rescaled(call: Call) -> Ids:
    """One scale and offset for all channels."""
    if np.size(call.layer.scale) > 1 or np.size(call.layer.offset) > 1:
        raise CannotSlice
    return call.ids


def operation(call: Call) -> Any:
    """A TensorFlow function that was called on a layer's output."""
    symbol = (call.layer.symbol or "").removeprefix("compat.v1.")
    if symbol in _ELEMENTWISE.split():
        constants = tf.nest.flatten((call.node.call_args, call.node.call_kwargs))
        known = {id(tensor) for tensor in call.node.keras_inputs}
        if any(isinstance(c, (np.ndarray, tf.Tensor)) and np.size(c) > 1
               for c in constants if id(c) not in known):  # fmt: skip
            raise CannotSlice
        return merged(call)
    if symbol in _BY_SYMBOL:
        return _BY_SYMBOL[symbol](call)
    raise CannotSlice


def _reduced(call: Call) -> Ids:
    """A mean over the places, not over the channels."""
    axes = tf.nest.flatten(call.argument(1, "axis"))
    rank = len(call.input_shape)
    if any(axis is None or axis % rank == rank - 1 for axis in axes):
        raise CannotSlice
    return call.ids


def _split(call: Call) -> list[Ids]:
    """Parts of the channels; how many each keeps is known when the model is rebuilt."""
    if not call.is_last(call.argument(2, "axis", 0)):
        return [call.ids] * len(outputs(call.node))
    sizes = [tensor.shape[-1] for tensor in outputs(call.node)]
    parts = np.split(call.ids, np.cumsum(sizes)[:-1])

    def rewrite(count: Count, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return (args[0], [count(part) for part in parts]), {"axis": -1}

    call.channels.rewrites[id(call.layer)] = rewrite
    return parts


def _cut(call: Call) -> Ids:
    """`x[..., a:b]`: a part of the channels, or of the places and all channels."""
    spec = call.argument(1, "slice_spec")
    spec = list(spec) if isinstance(spec, (tuple, list)) else [spec]
    named = sum(item is not None and item is not Ellipsis for item in spec)
    last = spec[-1]
    reaches = Ellipsis in spec or named == len(call.input_shape)
    if not reaches or last is Ellipsis:
        return call.ids
    if not isinstance(last, dict) or last["step"] not in (None, 1):
        raise CannotSlice
    start, stop, _ = slice(last["start"], last["stop"]).indices(len(call.ids))
    ids = call.ids

    def rewrite(count: Count, args: Any, kwargs: Any) -> tuple[Any, Any]:
        bounds = {"start": count(ids[:start]), "stop": count(ids[:stop]), "step": None}
        return (args[0], (*spec[:-1], bounds)), {}

    call.channels.rewrites[id(call.layer)] = rewrite
    return ids[start:stop]


def _picked(call: Call) -> Ids:
    """Some of the channels by their numbers, or some of the places."""
    places, axis = call.argument(1, "indices"), call.argument(3, "axis", 0)
    if not call.is_last(axis):
        return call.ids
    numbers = np.asarray(places)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or numbers.min() < 0:
        raise CannotSlice
    ids = call.ids

    def rewrite(count: Count, args: Any, kwargs: Any) -> tuple[Any, Any]:
        left = [count(ids[:number]) for number in numbers if count(ids[number : number + 1])]
        return (args[0], left), {"axis": -1}

    call.channels.rewrites[id(call.layer)] = rewrite
    return ids[numbers]


def _stacked(call: Call) -> Ids:
    """Tensors with the same channels, along an axis of their own."""
    axis, rank = call.argument(1, "axis", 0), len(call.output_shape)
    if axis % rank == rank - 1:
        raise CannotSlice
    return _joined(call, None)


def _padded(call: Call) -> Ids:
    """More places, with all channels."""
    if any(tf.nest.flatten(call.argument(1, "paddings"))[-2:]):
        raise CannotSlice
    return call.ids


def _multiplied(call: Call) -> Ids:
    """A matrix for each sample, whose columns are the second one's; it adds up the places."""
    flags = ("transpose_a", "transpose_b", "adjoint_a", "adjoint_b")
    if len(call.inputs) != 2 or any(call.argument(2 + i, flag) for i, flag in enumerate(flags)):
        raise CannotSlice
    one, other = (call.ids_of(call.argument(i, name)) for i, name in enumerate("ab"))
    call.channels.pin(one, f"{call.name} multiplies each by another place")
    return other


def is_sum(node: Any) -> bool:
    """Returns whether a call adds up its inputs, so that it can do without some of them."""
    return type(node.layer) is _layers.Add


def is_row(node: Any) -> bool:
    """Returns whether a call puts channels one input after another."""
    layer = node.layer
    rank = len(outputs(node)[0].shape)
    return type(layer) is _layers.Concatenate and layer.axis % rank == rank - 1


_PASSED = """
Activation ReLU LeakyReLU ELU ThresholdedReLU Softmax Dropout SpatialDropout1D SpatialDropout2D
SpatialDropout3D GaussianDropout GaussianNoise AlphaDropout ActivityRegularization RepeatVector
MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D
GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GlobalAveragePooling1D
GlobalAveragePooling2D GlobalAveragePooling3D UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D
ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D
"""
_MERGED = "Add Subtract Multiply Average Maximum Minimum"
_ELEMENTWISE = """
math.add math.subtract math.multiply math.divide math.truediv math.maximum math.minimum
__operators__.add __operators__.sub __operators__.mul __operators__.truediv math.negative math.abs
math.exp math.sqrt math.rsqrt math.square math.sigmoid math.tanh math.softplus nn.relu nn.relu6
nn.elu nn.selu nn.silu nn.gelu nn.sigmoid nn.tanh nn.leaky_relu nn.softplus nn.softsign
clip_by_value identity stop_gradient cast
"""
_BY_SYMBOL: dict[str, Any] = {
    "math.reduce_mean": _reduced,
    "math.reduce_max": _reduced,
    "math.reduce_std": _reduced,
    "math.reduce_sum": _reduced,
    "math.reduce_variance": _reduced,
    "split": _split,
    "__operators__.getitem": _cut,
    "concat": lambda call: _joined(call, call.argument(1, "axis")),
    "gather": _picked,
    "linalg.matmul": _multiplied,
    "pad": _padded,
    "stack": _stacked,
}
RULES: dict[type, Any] = {
    **{getattr(_layers, name): passed for name in _PASSED.split()},
    **{getattr(_layers, name): merged for name in _MERGED.split()},
    _layers.Concatenate: concatenated,
    _layers.Flatten: reshaped,
    _layers.Reshape: reshaped,
    _layers.Permute: permuted,
    _layers.Rescaling: rescaled,
}
# Layers of tf_keras' applications, and those in which Keras puts TensorFlow's functions.
RULES_BY_NAME: dict[str, Any] = {
    "TFOpLambda": operation,
    "SlicingOpLambda": operation,
    "StochasticDepth": passed,
    "CustomScaleLayer": merged,
}
