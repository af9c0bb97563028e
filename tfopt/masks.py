"""TF-MOT's pruning masks over the kernels of a model, whatever layers they are in."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfopt.errors import TechniqueError
from tfopt.keras_gate import tfmot
from tfopt.kernel_technique import Kernel

# isort: split
# Only importable after the gate has imported TF-MOT the careful way.
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

FIRST_STEP = 1  # TF-MOT counts the step that is about to run, from 1

# More mask updates than this change the result no more, and each costs as much as a step.
_MOST_UPDATES = 20
_RAMP = 0.5


def at_once(sparsity: float) -> tfmot.sparsity.keras.PruningSchedule:
    """Returns the schedule that prunes before the first step."""
    return tfmot.sparsity.keras.ConstantSparsity(
        sparsity, begin_step=FIRST_STEP, end_step=FIRST_STEP, frequency=1
    )


def growing(initial: float, final: float, steps: int) -> tfmot.sparsity.keras.PruningSchedule:
    """Returns the schedule that prunes more and more in the first half of so many steps.

    Few updates, the last at the full sparsity.
    """
    ramp = max(1, int(_RAMP * steps))
    frequency = math.ceil(ramp / _MOST_UPDATES)
    return tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=initial,
        final_sparsity=final,
        begin_step=FIRST_STEP,
        end_step=FIRST_STEP + ramp // frequency * frequency,
        power=3,
        frequency=frequency,
    )


class Masks(pruning_impl.Pruning):
    """TF-MOT's masks, with exactly as many zeros as asked for and none given back.

    TF-MOT keeps every weight whose magnitude ties with the smallest kept one (its own TODO
    b/208967539), and brings back zeros a model came with.

    Args:
        kernels: What is pruned.
        schedule: How the sparsity of the whole grows.
        shares: The sparsity of each kernel at the end; all rise in step with the schedule.
        block: Height and width of what is pruned together.
        block_pooling: `"avg"` or `"max"`.
        m_by_n: The pattern, if there is one.
    """

    def __init__(
        self,
        kernels: list[Kernel],
        schedule: tfmot.sparsity.keras.PruningSchedule,
        *,
        shares: Sequence[float],
        block: tuple[int, int],
        block_pooling: str,
        m_by_n: tuple[int, int] | None,
    ) -> None:
        self.kernels = kernels
        self._end = schedule.end_step
        final = float(schedule(schedule.end_step)[1])
        self._parts = {
            id(kernel.variable): share / final if final else 0.0
            for kernel, share in zip(kernels, shares, strict=True)
        }
        self._part = 1.0  # of the schedule's sparsity: that of the kernel whose mask is made
        self._step = tf.Variable(
            FIRST_STEP,
            dtype=tf.int64,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().__init__(
            training_step_fn=lambda: self._step,
            pruning_vars=[_with_mask(kernel.variable) for kernel in kernels],
            pruning_schedule=schedule,
            block_size=block,
            block_pooling_type=block_pooling.upper(),
            sparsity_m_by_n=m_by_n,
        )
        self._nonzero = {
            id(kernel.variable): tf.cast(kernel.variable != 0, kernel.variable.dtype)
            for kernel in kernels
        }
        for weights, mask, _ in self._pruning_vars:
            mask.assign(self._maybe_update_block_mask(weights)[1])
        self.apply()

    @tf.autograph.experimental.do_not_convert  # nothing in it depends on a tensor but tf.cond
    def advance(self) -> None:
        """In the graph, after a step: new masks if it is time, and masked weights back to zero."""
        self._step.assign_add(1)
        self.conditional_mask_update()
        self.weight_mask_op()

    def apply(self) -> None:
        """Outside of training: sets the masked weights to zero."""
        for weights, mask, _ in self._pruning_vars:
            weights.assign(weights * mask)

    def check_trained(self, wanted: float) -> None:
        """Refuses a model that was not trained to the end of its schedule, or not by `fit`.

        Args:
            wanted: The sparsity at the end of the schedule.

        Raises:
            TechniqueError: With the step at which the schedule stood.

        Warns:
            UserWarning: Masked weights have values again, from a checkpoint of before, say.
        """
        done, needed = int(self._step.numpy()) - FIRST_STEP, self._end - FIRST_STEP
        revived = sum(np.count_nonzero(w * (1 - mask)) for w, mask, _ in self._pruning_vars)
        if done >= needed and not (done == 0 and revived):
            if revived:
                warnings.warn(
                    f"{revived:,} pruned weights were set again after the last training step (a "
                    "checkpoint of an earlier step restored, say): they become zero now, and the "
                    "model has not learnt to do without them",
                    stacklevel=4,
                )
            return
        raise TechniqueError(
            received=f"a model whose pruning schedule stood at step {done} of {needed} (sparsity "
            f"{float(self._pruning_schedule(self._step.numpy())[1]):.3f})",
            expected=f"sparsity {wanted:g}, which it has after {needed} steps of `fit`",
            fix="fit the wrapped model for as many steps as wrap was told of (epochs times "
            "steps_per_epoch), with fit or train_on_batch: a loop of your own over "
            "model(x, training=True) updates no masks",
        )

    def _update_mask(self, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A mask of the largest weights, exactly as many as the schedule leaves."""
        sparsity = self._part * tf.cast(self._pruning_schedule(self._step)[1], tf.float64)
        magnitudes = tf.reshape(tf.abs(weights), [-1])
        size = magnitudes.shape[0]
        kept = tf.cast(tf.maximum(tf.round(size * (1 - sparsity)), 1), tf.int32)
        values, order = tf.math.top_k(magnitudes, k=size)
        ranks = tf.scatter_nd(order[:, None], tf.range(size), [size])
        mask = tf.cast(ranks < kept, weights.dtype)
        return tf.gather(values, kept - 1), tf.reshape(mask, weights.shape)

    def _maybe_update_block_mask(self, weights: tf.Variable) -> tuple[tf.Tensor, tf.Tensor]:
        """The mask of any pattern, without the zeros the model came with."""
        self._part = self._parts[id(weights)]
        threshold, mask = super()._maybe_update_block_mask(weights)
        return threshold, tf.cast(mask, weights.dtype) * self._nonzero[id(weights)]


def _with_mask(weights: tf.Variable) -> tuple[tf.Variable, tf.Variable, tf.Variable]:
    """What TF-MOT prunes: the weights, a mask and a threshold."""
    dtype = getattr(weights, "true_dtype", weights.dtype)
    settings = {"trainable": False, "aggregation": tf.VariableAggregation.MEAN}
    mask = tf.Variable(tf.ones(weights.shape, dtype), **settings)
    return weights, mask, tf.Variable(tf.zeros([], dtype), **settings)


def zero_blocks(value: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Which blocks hold nothing but zeros; with blocks of one weight, which weights are zero."""
    if block == (1, 1):
        return value == 0
    (height, width), (rows, columns) = value.shape, block
    padded = np.pad(value, ((0, -height % rows), (0, -width % columns)))
    blocks = padded.reshape(len(padded) // rows, rows, -1, columns)
    return (blocks == 0).all(axis=(1, 3))


def m_by_n_share(value: np.ndarray, m_by_n: tuple[int, int]) -> float:
    """Share of the groups of n weights along the input channels with at most n - m non-zeros."""
    zeros, group = m_by_n
    channels = np.moveaxis(value, -2, -1).reshape(-1, value.shape[-2])
    padded = np.pad(channels, ((0, 0), (0, -channels.shape[1] % group)))
    nonzero = np.count_nonzero(padded.reshape(-1, group), axis=1)
    return float(np.mean(nonzero <= group - zeros))


def two_integers(value: tuple[int, int]) -> bool:
    """Whether a setting is a pair of integers."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) for side in value)
    )
