"""How far rounded layers are from what they are to give, channel by channel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfopt.rounding.adaround import Error
from tfopt.rounding.blocks import Activation
from tfopt.rounding.capture import Rows

_BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class LayerErrors:
    """Of one layer.

    Args:
        rows: What it gets and what it is to give.
        bias: Its bias, (groups, 1, outputs).
        activation: What its output goes through.
    """

    rows: Rows
    bias: np.ndarray
    activation: Activation

    def of(self, matrix: np.ndarray) -> np.ndarray:
        """Returns the mean squared error of each channel, (groups, 1, outputs)."""
        return self._squares(self.rows.inputs, self.rows.targets, matrix).numpy()

    def sampled(self, usual: np.ndarray, batch: int, seed: int) -> Error:
        """Returns the error to learn from: of some rows, as a share of the usual error.

        The mean over the channels. So one of small numbers counts as much as one of large ones: the
        layers after it may well make them large.

        Args:
            usual: The error of nearest rounding.
            batch: Rows in a step.
            seed: Which ones.
        """
        inputs, targets = self.rows.inputs, self.rows.targets
        size = min(batch, inputs.shape[1])

        def error(kernels: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
            start = _draw([], inputs.shape[1] - size + 1, seed, step)
            x, y = (part[:, start : start + size] for part in (inputs, targets))
            return _share(self._squares(x, y, kernels[0]), usual)

        return error

    def gram(self) -> np.ndarray:
        """Returns the products of the inputs with each other, (groups, inputs, inputs)."""
        return tf.matmul(self.rows.inputs, self.rows.inputs, transpose_a=True).numpy()

    def missing(self, matrix: np.ndarray) -> np.ndarray:
        """Returns the inputs times what is missing in the outputs, (groups, inputs, outputs)."""
        missing = self.rows.targets - self.bias - tf.matmul(self.rows.inputs, matrix)
        return tf.matmul(self.rows.inputs, missing, transpose_a=True).numpy()

    def _squares(self, inputs: tf.Tensor, targets: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
        made = self.activation(tf.matmul(inputs, matrix) + self.bias)
        return tf.reduce_mean((made - self.activation(targets)) ** 2, axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class BlockErrors:
    """Of a block.

    Args:
        run: Computes the block with other kernels, of those and of its entries.
        entries: What rounded blocks before it give, for all samples.
        targets: What the float model's block makes of its own entries: a single tensor.
    """

    run: Callable[[Sequence[tf.Tensor], list[tf.Tensor]], tf.Tensor]
    entries: list[tf.Tensor]
    targets: list[tf.Tensor]

    def of(self, kernels: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the mean squared error of each channel, (channels,)."""
        count = len(self.targets[0])
        parts = np.array_split(np.arange(count), -(-count // _BATCH_SIZE))
        errors = [self._squares(kernels, part).numpy() for part in parts]
        return np.average(errors, axis=0, weights=[len(part) for part in parts])

    def sampled(self, usual: np.ndarray, batch: int, seed: int) -> Error:
        """Returns the error to learn from, as that of a layer; `batch` counts samples."""
        count = len(self.targets[0])

        def error(kernels: Sequence[tf.Tensor], step: tf.Tensor) -> tf.Tensor:
            chosen = _draw([min(batch, count)], count, seed, step)
            return _share(self._squares(kernels, chosen), usual)

        return error

    def _squares(self, kernels: Sequence[tf.Tensor], chosen: tf.Tensor) -> tf.Tensor:
        made = self.run(kernels, [tf.gather(entry, chosen) for entry in self.entries])
        off = (made - tf.gather(self.targets[0], chosen)) ** 2
        return tf.reduce_mean(tf.reshape(off, [-1, off.shape[-1]]), axis=0)


def _draw(shape: list[int], below: int, seed: int, step: tf.Tensor) -> tf.Tensor:
    """Random integers, the same for the same seed and step."""
    return tf.random.stateless_uniform(shape, tf.stack([seed, step]), maxval=below, dtype=tf.int32)


def _share(error: tf.Tensor, usual: np.ndarray) -> tf.Tensor:
    """The mean share of the usual error, over the channels; those without any count as 0."""
    return tf.reduce_mean(tf.math.divide_no_nan(error, usual))
