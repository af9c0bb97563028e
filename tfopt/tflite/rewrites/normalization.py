"""Normalization of samples and of groups of channels, and across neighbouring channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.keras_gate import tf_keras
from tfopt.tflite.rewrites.call import Call

_groups_as_they_are = tf_keras.layers.GroupNormalization.call
_layer_as_it_is = tf_keras.layers.LayerNormalization.call


def local_response(call: Call) -> tf.Tensor | None:
    """LRN: x · exp(-beta · log(bias + alpha · sums of squares of neighbours)).

    References:
        Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks",
        NIPS 2012, section 3.3.
    """
    (x,) = call.inputs
    channels = x.shape[-1]
    if channels is None or not call.is_float:
        return None
    radius = call.attributes["depth_radius"].i if "depth_radius" in call.attributes else 5
    position = np.arange(channels)
    near = np.abs(position[:, None] - position[None]) <= radius
    band = near.astype(np.float32) * call.real("alpha", 1.0)
    sums = tf.nn.conv2d(x * x, tf.constant(band[None, None]), 1, "VALID")
    return x * tf.exp(tf.math.log(sums + call.real("bias", 1.0)) * -call.real("beta", 0.5))


def groups(layer: Any, inputs: tf.Tensor, mask: Any = None) -> tf.Tensor:
    """The call of a GroupNormalization layer in four dimensions, with moments that weigh nothing.

    As it is, it has one dimension more than the input, in which the file's broadcasts fail for any
    number of samples, and computes the number of values in a group from the values.
    """
    *area, channels = inputs.shape[1:]
    last = layer.axis in (-1, inputs.shape.rank - 1)
    if mask is not None or not last or None in inputs.shape[1:] or not area:
        return _groups_as_they_are(layer, inputs, mask)
    in_group = channels // layer.groups
    x = tf.reshape(inputs, (-1, int(np.prod(area)), layer.groups, in_group))
    result = tf.reshape(_normal(x, (1, 3), layer.epsilon), (-1, *area, channels))
    if layer.scale:
        result *= tf.convert_to_tensor(layer.gamma)
    return result + tf.convert_to_tensor(layer.beta) if layer.center else result


def sample(layer: Any, inputs: tf.Tensor) -> tf.Tensor:
    """The call of a LayerNormalization layer as it is written in its paper.

    As it is, it goes through a batch norm of as many channels as there are samples, whose 16-bit
    file crashes the interpreter.

    References:
        Ba et al., "Layer Normalization", 2016, equation 4.
    """
    axes = [axis % inputs.shape.rank for axis in layer.axis]
    if inputs.dtype != tf.float32 or None in [inputs.shape[axis] for axis in axes]:
        return _layer_as_it_is(layer, inputs)
    result = _normal(inputs, axes, layer.epsilon)
    shape = [size if axis in axes else 1 for axis, size in enumerate(inputs.shape)]
    if layer.scale:
        result *= tf.reshape(layer.gamma, shape)
    return result + tf.reshape(layer.beta, shape) if layer.center else result


def _normal(x: tf.Tensor, axes: Sequence[int], epsilon: float) -> tf.Tensor:
    """Without its mean, over its standard deviation."""
    centred = x - tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    return centred * tf.math.rsqrt(variance + epsilon)
