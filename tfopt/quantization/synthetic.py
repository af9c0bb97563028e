"""Inputs made of a model alone, for calibration where there is no data."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfopt import keras_gate
from tfopt.data import Arrays
from tfopt.errors import ModelError, SettingError
from tfopt.graph import calls
from tfopt.keras_gate import tf_keras

_STEPS = 100
_BATCH_SIZE = 32
_LEARNING_RATE = 0.1  # in parts of the inputs' scale
# Scales that the noise begins at, of which the best is taken: inputs may reach from 0 to 255.
_SCALES = (0.1, 0.5, 1.0, 4.0, 64.0, 256.0)
# A channel that hardly varied in training must not outweigh all others.
_LEAST_VARIANCE = 1e-2


def synthetic_inputs(
    model: Any,
    count: int = 64,
    *,
    seed: int = 0,
    value_range: tuple[float, float] | None = None,
) -> Arrays:
    """Makes inputs that look to a model's batch norms like the data it was trained on.

    The batch norms remember mean and variance of what reached them in training. Noise is changed
    step by step until it reaches them with the same. Its activations then have the ranges that
    data has, by and large; real samples, even a few dozen, are better.

    Args:
        model: A path, a Keras 3 model or a tf_keras model with batch norms that are not folded.
        count: How many inputs.
        seed: The same seed gives the same inputs on the same machine.
        value_range: The smallest and the largest number an input can hold, such as (0, 1), if
            known: the result is better for it.

    Returns:
        An array of shape (count, ...); a dict of them by name where there are several inputs.

    Raises:
        ModelError: The model has no batch norm, or an input of integers or of open size.
        SettingError: `count` or `value_range` cannot be.

    Example:
        >>> from tfopt.testing import small_cnn
        >>> synthetic_inputs(small_cnn(), 8, value_range=(0, 1)).shape
        (8, 8, 8, 1)

    References:
        Cai et al., "ZeroQ: A Novel Zero Shot Quantization Framework", CVPR 2020, section 3.1;
        Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
        ICCV 2019 (batch-norm statistics in the place of data).
    """
    _check_settings(count, value_range)
    if not isinstance(model, tf_keras.Model) or not getattr(model, "inputs", None):
        model = keras_gate.load_model(model)
    _check_inputs(model)
    matching = _Matching(model)
    generator = np.random.default_rng(seed)
    batches = []
    for start in range(0, count, _BATCH_SIZE):
        size = min(_BATCH_SIZE, count - start)
        batches.append(_made(matching, model, size, generator, value_range))
    inputs = [np.concatenate(column) for column in zip(*batches, strict=True)]
    return inputs[0] if len(inputs) == 1 else dict(zip(model.input_names, inputs, strict=True))


class _Matching:
    """How far what reaches the batch norms is from what they saw in training."""

    def __init__(self, model: tf_keras.Model) -> None:
        norms = [
            (node.layer, node.input_tensors)
            for node in calls.nodes(model)
            if isinstance(node.layer, tf_keras.layers.BatchNormalization)
        ]
        if not norms:
            raise ModelError(
                received=f"model {model.name!r} without a batch norm",
                expected="batch norms, whose statistics tell what the training data was like",
                fix="calibrate with real samples: task=..., or representative=...",
            )
        self._layers = [layer for layer, _ in norms]
        self._probe = tf_keras.Model(model.inputs, [tensor for _, tensor in norms])

    def __call__(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Returns the mean squared distance of means and deviations, in deviations."""
        reached = tf.nest.flatten(self._probe(inputs, training=False))
        distances = []
        for layer, values in zip(self._layers, reached, strict=True):
            axis = layer.axis[0] if hasattr(layer.axis, "__getitem__") else layer.axis
            others = [other for other in range(values.shape.rank) if other != axis]
            mean, variance = tf.nn.moments(values, others)
            wanted = tf.convert_to_tensor(layer.moving_variance)
            wanted = tf.maximum(wanted, _LEAST_VARIANCE * tf.reduce_mean(wanted) + layer.epsilon)
            shift = tf.square(mean - layer.moving_mean) / wanted
            spread = tf.square(tf.sqrt((variance + layer.epsilon) / wanted) - 1)
            distances.append(tf.reduce_mean(shift + spread))
        return tf.add_n(distances) / len(distances)


def _made(
    matching: _Matching,
    model: tf_keras.Model,
    size: int,
    generator: np.random.Generator,
    value_range: tuple[float, float] | None,
) -> list[np.ndarray]:
    """A batch of inputs, from noise."""
    noise = [
        generator.standard_normal((size, *tensor.shape[1:])).astype(np.float32)
        for tensor in model.inputs
    ]
    if value_range is None:
        starts = [(scale, offset * scale) for scale in _SCALES for offset in (0.0, 1.0)]
    else:
        low, high = value_range
        starts = [((high - low) / 4, (high + low) / 2)]
    distances = [float(matching([scale * x + offset for x in noise])) for scale, offset in starts]
    scale, offset = starts[int(np.nanargmin(distances))]
    inputs = [tf.Variable(scale * x + offset) for x in noise]
    optimizer = tf_keras.optimizers.Adam(
        tf_keras.optimizers.schedules.CosineDecay(_LEARNING_RATE * scale, _STEPS)
    )
    optimizer.build(inputs)

    @tf.function(autograph=False)
    def step() -> None:
        with tf.GradientTape() as tape:
            distance = matching([tf.convert_to_tensor(x) for x in inputs])
        gradients = tape.gradient(distance, inputs)
        optimizer.apply_gradients(
            zip(gradients, inputs, strict=True), skip_gradients_aggregation=True
        )
        if value_range is not None:
            for x in inputs:
                x.assign(tf.clip_by_value(x, *value_range))

    for _ in range(_STEPS):
        step()
    return [x.numpy() for x in inputs]


def _check_settings(count: int, value_range: tuple[float, float] | None) -> None:
    if not isinstance(count, int) or count < 1:
        raise SettingError(
            received=f"count={count!r}", expected="a whole number, at least 1", fix="64 is usual"
        )
    if value_range is not None and not _is_range(value_range):
        raise SettingError(
            received=f"value_range={value_range!r}",
            expected="the smallest number, and a larger one",
            fix="give (0, 1) for images in that range",
        )


def _is_range(value: Any) -> bool:
    """Whether a value is two finite numbers, the smaller one first."""
    try:
        low, high = (float(bound) for bound in value)
    except (TypeError, ValueError):
        return False
    return -np.inf < low < high < np.inf


def _check_inputs(model: tf_keras.Model) -> None:
    for name, tensor in zip(model.input_names, model.inputs, strict=True):
        if not tensor.dtype.is_floating or None in tensor.shape[1:]:
            raise ModelError(
                received=f"input {name!r} of {tensor.dtype.name} {tuple(tensor.shape[1:])}",
                expected="inputs of real numbers and of a fixed size",
                fix="calibrate with real samples: task=..., or representative=...",
            )
