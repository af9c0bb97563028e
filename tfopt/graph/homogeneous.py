"""Layers through which a channel can be rescaled: for an input of x / s they give f(x) / s."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.graph.calls import Layer, Node, nodes, outputs, rebuild
from tfopt.graph.kernels import activation_name, channels_last
from tfopt.keras_gate import clone, tf_keras

_layers = tf_keras.layers

# Each channel of the output is made of the same channel of the inputs.
_CHANNEL_BY_CHANNEL: tuple[type, ...] = (
    _layers.ActivityRegularization,
    _layers.Add,
    _layers.AlphaDropout,
    _layers.Average,
    _layers.AveragePooling1D,
    _layers.AveragePooling2D,
    _layers.Cropping1D,
    _layers.Cropping2D,
    _layers.Dropout,
    _layers.GaussianDropout,
    _layers.GaussianNoise,
    _layers.GlobalAveragePooling1D,
    _layers.GlobalAveragePooling2D,
    _layers.GlobalMaxPooling1D,
    _layers.GlobalMaxPooling2D,
    _layers.Identity,
    _layers.LeakyReLU,
    _layers.Maximum,
    _layers.MaxPooling1D,
    _layers.MaxPooling2D,
    _layers.Minimum,
    _layers.PReLU,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
    _layers.Subtract,
    _layers.UpSampling1D,
    _layers.UpSampling2D,
    _layers.ZeroPadding1D,
    _layers.ZeroPadding2D,
)
# The channels stay the fastest axis, several positions of them one after the other.
_RESHAPING: tuple[type, ...] = (_layers.Flatten, _layers.Reshape)


def hands_on(node: Node) -> bool:
    """Returns whether a call gives f(x) / s for inputs of x / s, whatever the positive scales s.

    Args:
        node: A call of a layer.

    References:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
        section 4.1 (equation 2, positive homogeneity).
    """
    layer = node.layer
    if not channels_last(layer):
        return False
    if type(layer) is _layers.ReLU:
        return layer.max_value is None and not layer.threshold
    if type(layer) is _layers.Activation:
        return activation_name(layer) in ("linear", "relu", "leaky_relu")
    if type(layer) in _RESHAPING:
        before, after = (tensor.shape[-1] for tensor in (*node.keras_inputs, *outputs(node)))
        return before is not None and after is not None and after % before == 0
    return type(layer) in _CHANNEL_BY_CHANNEL


def clip_of(node: Node) -> float | np.ndarray | None:
    """Returns where a call cuts its input off, None if it does something else.

    Args:
        node: A call of a layer: ReLU with a largest value, such as ReLU6, or the minimum that
            `with_limits` puts behind a ReLU.

    Returns:
        One number, or one for each channel.
    """
    layer = node.layer
    if type(layer) is _layers.ReLU and not layer.threshold:
        return layer.max_value
    if type(layer) is _layers.Activation and activation_name(layer) == "relu6":
        return 6.0
    if getattr(layer, "symbol", None) == "math.minimum":
        limit = node.call_kwargs.get("y", (*node.call_args, None, None)[1])
        if isinstance(limit, (list, np.ndarray)) and np.ndim(limit) == 1 and np.min(limit) > 0:
            return np.asarray(limit, np.float64)
    return None


def with_limits(model: tf_keras.Model, limits: dict[str, np.ndarray]) -> tf_keras.Model:
    """Returns a copy of a model whose clips have other limits.

    Args:
        model: A functional model.
        limits: By the name of a layer that `clip_of` knows: one limit for each channel. If all are
            the same, the layer becomes a ReLU with that largest value (none, for infinity), which a
            file computes in the operation before; else a ReLU and a minimum.
    """
    if not limits:
        return clone(model)
    own = clone(model)
    # Where the limits of a minimum are all the same, the ReLU in front of it cuts off instead.
    fused = {
        node.layer.name: relu
        for node in nodes(own)
        if (relu := _relu_before(own, node)) is not None
    }
    fused = {name: relu for name, relu in fused.items() if _uniform(limits.get(name))}
    handing_on = {relu.name for relu in fused.values()}

    def replace(layer: Layer) -> Any:
        if layer.name in handing_on:
            return lambda x: x
        if layer.name not in limits:
            return layer
        return _clip(fused.get(layer.name, layer), np.float32(limits[layer.name]))

    rebuilt, _ = rebuild(own, replace=replace)
    return clone(rebuilt)


def _clip(layer: Layer, limits: np.ndarray) -> Any:
    """What cuts off at the limits in the place of a layer that did at others."""
    if hasattr(layer, "symbol"):
        return lambda x, *args, **kwargs: tf.minimum(x, limits)
    slope = float(getattr(layer, "negative_slope", 0.0))
    if _uniform(limits):
        largest = float(limits[0]) if np.isfinite(limits[0]) else None
        relu = _layers.ReLU(largest, slope, name=layer.name)
        return lambda x, *args, **kwargs: relu(x)
    relu = _layers.ReLU(None, slope, name=layer.name)
    return lambda x: tf.minimum(relu(x), limits)


def _uniform(limits: np.ndarray | None) -> bool:
    """Whether all channels are cut off at the same value."""
    return limits is not None and bool(np.allclose(limits, limits[0], rtol=1e-6))


def _relu_before(model: tf_keras.Model, node: Node) -> Layer | None:
    """The ReLU whose output goes to a minimum and nowhere else, None if there is none."""
    if getattr(node.layer, "symbol", None) != "math.minimum":
        return None
    (tensor,) = node.keras_inputs[:1]
    relu = tensor.node.layer
    users = sum(tensor is other for each in nodes(model) for other in each.keras_inputs)
    plain = type(relu) is _layers.ReLU and relu.max_value is None and not relu.threshold
    return relu if plain and users == 1 and len(relu._inbound_nodes) == 1 else None
