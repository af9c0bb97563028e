"""What a model's batch norms tell about its activations, without any data."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tfopt.graph.calls import Node, nodes, outputs
from tfopt.graph.homogeneous import clip_of
from tfopt.graph.kernels import activation_name
from tfopt.keras_gate import tf_keras

_layers = tf_keras.layers

# Layers whose output has the mean of their input, channel by channel.
_KEEPS_MEAN: tuple[type, ...] = (
    _layers.AveragePooling1D,
    _layers.AveragePooling2D,
    _layers.GlobalAveragePooling1D,
    _layers.GlobalAveragePooling2D,
    _layers.Reshape,
    _layers.UpSampling1D,
    _layers.UpSampling2D,
    _layers.Flatten,
)
_KEEPS_ALL: tuple[type, ...] = (
    _layers.AlphaDropout,
    _layers.Dropout,
    _layers.GaussianDropout,
    _layers.GaussianNoise,
    _layers.Identity,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
)


@dataclasses.dataclass(frozen=True)
class Normal:
    """What is known of a tensor.

    Args:
        mean: Of each channel.
        deviation: Of each channel, which is normally distributed; None if only the mean is known.
    """

    mean: np.ndarray
    deviation: np.ndarray | None = None


def input_means(model: tf_keras.Model) -> dict[str, np.ndarray]:
    """Returns the means of what layers read, as far as batch norms before them tell.

    A batch norm's output has the mean beta and the deviation gamma in each channel. A ReLU behind
    it has the mean of a normal distribution that is cut off; averages keep a mean, sums add them.

    Args:
        model: A functional model whose batch norms are not folded.

    Returns:
        (input channels,) by the name of the layer that reads them.

    References:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
        section 4.2.1 and appendix C (the clipped normal distribution).
    """
    known: dict[int, Normal] = {}
    means: dict[str, np.ndarray] = {}
    for node in nodes(model):
        if node.is_input:
            continue
        sources = [known.get(id(tensor)) for tensor in node.keras_inputs]
        if sources and sources[0] is not None:
            means.setdefault(node.layer.name, sources[0].mean)
        found = _statistics(node, sources)
        if found is not None:
            known[id(outputs(node)[0])] = found
    return means


def clipped_mean(normal: Normal, high: float | np.ndarray | None) -> np.ndarray:
    """Returns the mean of a normal distribution cut off at 0, and above.

    Args:
        normal: With a deviation.
        high: Where it is cut off above, None for nowhere.

    Example:
        >>> half = clipped_mean(Normal(np.zeros(1), np.ones(1)), None)
        >>> round(float(half[0]), 4)  # 1 / sqrt(2 pi)
        0.3989
    """
    mean = normal.mean
    deviation = np.maximum(np.asarray(normal.deviation), 1e-12)
    below = -mean / deviation
    result = deviation * _density(below) + mean * (1 - _share(below))
    if high is None:
        return result
    above = (high - mean) / deviation
    # What lies beyond the limit counts as the limit.
    return result - deviation * _density(above) + (high - mean) * (1 - _share(above))


def _statistics(node: Node, sources: list[Normal | None]) -> Normal | None:
    """What is known of a call's output, given what is known of its inputs."""
    layer = node.layer
    if type(layer) is _layers.BatchNormalization:
        return _normal(layer, node)
    known = [source for source in sources if source is not None]
    if not known or len(known) < len(sources):
        return None
    first = known[0]
    if type(layer) is _layers.Add:
        return Normal(np.sum([source.mean for source in known], axis=0))
    if isinstance(layer, _KEEPS_ALL) or (
        type(layer) is _layers.Activation and activation_name(layer) == "linear"
    ):
        return first
    if isinstance(layer, _KEEPS_MEAN):
        size = outputs(node)[0].shape[-1]
        whole = size is not None and size % len(first.mean) == 0
        return Normal(np.tile(first.mean, size // len(first.mean))) if whole else None
    if first.deviation is None:
        return None
    if _is_relu(node):
        return Normal(clipped_mean(first, clip_of(node)))
    return None


def _normal(layer: tf_keras.layers.Layer, node: Node) -> Normal | None:
    """What a batch norm's output is like: beta and gamma, if it normalizes the last axis."""
    rank = len(node.keras_inputs[0].shape)
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    if axis % rank != rank - 1:
        return None
    size = layer.moving_mean.shape[0]
    mean = layer.beta.numpy() if layer.center else np.zeros(size)
    deviation = np.abs(layer.gamma.numpy()) if layer.scale else np.ones(size)
    return Normal(mean.astype(np.float64), deviation.astype(np.float64))


def _is_relu(node: Node) -> bool:
    """Whether a call cuts off below 0, and maybe above."""
    layer = node.layer
    if type(layer) is _layers.ReLU:
        return not layer.negative_slope and not layer.threshold
    return type(layer) is _layers.Activation and activation_name(layer) in ("relu", "relu6")


def _density(x: np.ndarray) -> np.ndarray:
    """The density of the standard normal distribution."""
    return np.exp(-np.square(x) / 2) / math.sqrt(2 * math.pi)


def _share(x: np.ndarray) -> np.ndarray:
    """The share of the standard normal distribution that lies below."""
    return 0.5 * (1 + np.vectorize(math.erf)(np.asarray(x) / math.sqrt(2)))
