"""Learning which way each weight is rounded, by gradient descent on what comes of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfopt.keras_gate import tf_keras
from tfopt.rounding.grid import Grid

# The sigmoid is stretched, so that it reaches 0 and 1, where it stays.
_LOW, _HIGH = -0.1, 1.1
# For the first part nothing draws weights to either side; then more and more of them.
_WARM_UP = 0.2
# What all weights together pay for standing between two integers, against the usual error.
_PULL = 10.0
_FIRST_POWER, _LAST_POWER = 20.0, 2.0

Error = Callable[[Sequence[tf.Tensor], tf.Tensor], tf.Tensor]
"""What rounding does to the outputs, of the weights and the number of the step: about 1 for nearest
rounding."""


@dataclasses.dataclass(frozen=True)
class Learning:
    """How to learn.

    Args:
        steps: Of gradient descent.
        learning_rate: Of Adam.
        seed: Of the batches.
    """

    steps: int
    learning_rate: float
    seed: int = 0


def learn(grids: Sequence[Grid], error: Error, learning: Learning) -> list[np.ndarray]:
    """Returns integers that are next to the weights, above or below, and make the error small.

    Args:
        grids: The kernels'.
        error: A scalar tensor, differentiable, of kernels shaped like the grids and the step.
        learning: How to learn.

    Returns:
        The integers of each kernel, as float32.

    Example:
        >>> weights = np.append(np.linspace(0.2, 0.45, 20), 1.0)
        >>> grid = Grid.of(weights, np.array([1.0]), 1)
        >>> total = lambda kernels, step: (tf.reduce_sum(kernels[0]) - 7.5) ** 2 / 6.5**2
        >>> learned, = learn([grid], total, Learning(steps=200, learning_rate=0.03))
        >>> float(grid.nearest().sum()), bool(6 <= learned.sum() <= 9)
        (1.0, True)

    References:
        Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, 2020, equations
        21 to 25.
    """
    floors = [np.where(grid.fixed, grid.nearest(), np.floor(grid.steps)) for grid in grids]
    movable = [(~grid.fixed).astype(np.float32) for grid in grids]
    logits = [tf.Variable(_logits(grid)) for grid in grids]
    free = max(1.0, sum(float(part.sum()) for part in movable))
    optimizer = tf_keras.optimizers.Adam(learning.learning_rate, jit_compile=False)
    optimizer.build(logits)

    @tf.autograph.experimental.do_not_convert
    def gradients(step: tf.Tensor) -> list[tuple[tf.Tensor, tf.Variable]]:
        with tf.GradientTape() as tape:
            parts = zip(grids, floors, movable, logits, strict=True)
            soft = [
                (grid, floor, part, _stretched(logit) * part) for grid, floor, part, logit in parts
            ]
            power, weight = _schedule(step, learning)
            kernels = [(floor + up) * grid.scale for grid, floor, _, up in soft]
            between = [tf.reduce_sum(1 - tf.abs(2 * up - 1) ** power) for *_, up in soft]
            loss = error(kernels, step) + weight * tf.add_n(between) / free
        return list(zip(tape.gradient(loss, logits), logits, strict=True))

    @tf.function
    def descend() -> None:
        for step in tf.range(learning.steps):
            # Aggregated over devices, TensorFlow would never forget the graph, nor the data in it.
            optimizer.apply_gradients(gradients(step), skip_gradients_aggregation=True)

    descend.get_concrete_function()()
    return [
        floor + np.where(_stretched(logit).numpy() >= 0.5, part, 0)
        for floor, logit, part in zip(floors, logits, movable, strict=True)
    ]


def _schedule(step: tf.Tensor, learning: Learning) -> tuple[tf.Tensor, tf.Tensor]:
    """The power and the weight of what draws weights to integers."""
    begin = _WARM_UP * learning.steps
    done = (tf.cast(step, tf.float32) - begin) / max(1.0, learning.steps - begin)
    cosine = 0.5 * (1 + tf.cos(math.pi * tf.maximum(done, 0.0)))
    power = _LAST_POWER + (_FIRST_POWER - _LAST_POWER) * cosine
    return power, tf.where(done < 0, 0.0, _PULL)


def _stretched(logit: tf.Variable) -> tf.Tensor:
    """The rectified sigmoid: how far up a weight is, 0 to 1."""
    return tf.clip_by_value(tf.sigmoid(logit) * (_HIGH - _LOW) + _LOW, 0.0, 1.0)


def _logits(grid: Grid) -> np.ndarray:
    """Where weights start: where they are."""
    up = np.where(grid.fixed, 0.5, grid.steps - np.floor(grid.steps))
    return -np.log((_HIGH - _LOW) / (up - _LOW) - 1).astype(np.float32)
