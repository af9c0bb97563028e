"""Magnitude pruning: the smallest weights become zero while the others learn to do without them."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from tfopt import facts
from tfopt.errors import SettingError, TechniqueError, nearest
from tfopt.keras2.protocols import PRUNABLE
from tfopt.keras_gate import clone, load_model, tf_keras, tfmot
from tfopt.masks import FIRST_STEP, Masks
from tfopt.technique import Stage
from tfopt.training import total_steps
from tfopt.wrapping import (
    ORDER,
    AnyModel,
    Kernel,
    KernelTechnique,
    Wrapped,
    after_each_step,
    refuse_fake_quantized,
)

if TYPE_CHECKING:
    from tfopt.data import Arrays

Schedule = Literal["polynomial", "constant"]
Pooling = Literal["avg", "max"]

# More mask updates than this change the result no more, and each costs as much as a step.
_MOST_UPDATES = 20
_RAMP = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class MagnitudePruning(KernelTechnique):
    """Sets the share `sparsity` of each kernel's weights to zero, the smallest ones.

    With `schedule="polynomial"` the share grows during the first half of the training, and the
    other half recovers from it; with `"constant"` all of it is pruned before the first step. The
    schedule is fitted to the number of steps there really are. Zeros the model already has are
    kept. Zeros make a file smaller once it is compressed, and faster only on hardware or kernels
    that skip them.

    Depthwise kernels hold few weights and much of the accuracy: they are left alone unless `only`
    names their layer.

    Args:
        sparsity: Share of zeros in each kernel, 0 to below 1. 0 changes nothing.
        schedule: `"polynomial"` or `"constant"`. With `m_by_n`, always constant.
        initial_sparsity: The share the polynomial schedule starts from.
        block: Height and width of the blocks of weights that are zeroed together, for hardware
            that skips them whole. Only kernels of two dimensions (Dense, recurrent, Embedding).
        block_pooling: Whether a block counts by its `"avg"` or its `"max"` magnitude.
        m_by_n: `(2, 4)` makes 2 of each 4 weights along the input channels zero, for hardware with
            structured sparsity. `sparsity` must then be m / n.
        epochs: Passes over the training data; fractions are allowed.
        learning_rate: Peak of the learning rate.
        only: Names or class names of the layers to prune; None for all that can be.
        skip: Names or class names of layers to leave alone.

    Raises:
        SettingError: A setting is out of its range.

    Example:
        >>> technique = MagnitudePruning(sparsity=0.75, schedule="constant")
        >>> layers = [tf_keras.Input((8,)), tf_keras.layers.Dense(4)]
        >>> wrapped = technique.wrap(tf_keras.Sequential(layers), steps_per_epoch=10)
        >>> wrapped.model.compile("adam", "mse")
        >>> data = (np.ones((320, 8)), np.ones((320, 4)))
        >>> history = wrapped.model.fit(*data, epochs=2, callbacks=wrapped.callbacks, verbose=0)
        >>> facts.measure(wrapped.strip()).sparsity
        0.75

    References:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015,
        section 3 (prune the smallest, train the rest). Zhu and Gupta, To prune, or not to prune,
        2017, equation 1 (the polynomial schedule). Mishra et al., Accelerating Sparse Deep Neural
        Networks, 2021, section 3 (2:4 sparsity).
    """

    stage: ClassVar[Stage] = Stage.SPARSITY
    headline: ClassVar[tuple[str, ...]] = ("sparsity", "epochs")
    protocol: ClassVar[str] = PRUNABLE

    sparsity: float = 0.5
    schedule: Schedule = "polynomial"
    initial_sparsity: float = 0.0
    block: tuple[int, int] = (1, 1)
    block_pooling: Pooling = "avg"
    m_by_n: tuple[int, int] | None = None
    epochs: float = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("block", "m_by_n"):
            if isinstance(getattr(self, field), list):
                object.__setattr__(self, field, tuple(getattr(self, field)))
        self._check_sparsity()
        self._check_names()
        self._check_block()
        if self.m_by_n is not None:
            self._check_m_by_n(self.m_by_n)

    def _check_sparsity(self) -> None:
        """Refuses shares outside 0..1, and a schedule that would have to un-prune."""
        for field in ("sparsity", "initial_sparsity"):
            value = getattr(self, field)
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise SettingError(
                    received=f"{field}={value!r}",
                    expected=f"0 <= {field} < 1",
                    fix="pass the share of weights to remove, such as 0.5",
                )
        if self.initial_sparsity > self.sparsity:
            raise SettingError(
                received=f"initial_sparsity={self.initial_sparsity} above sparsity={self.sparsity}",
                expected="a start that is at most the end",
                fix="leave initial_sparsity out to start at 0",
            )

    def _check_names(self) -> None:
        """Refuses unknown schedules and poolings."""
        for field, names in (
            ("schedule", get_args(Schedule)),
            ("block_pooling", get_args(Pooling)),
        ):
            if getattr(self, field) not in names:
                raise SettingError(
                    received=f"{field}={getattr(self, field)!r}",
                    expected=nearest(str(getattr(self, field)), names),
                    fix=f"leave {field} out for the default",
                )

    def _check_block(self) -> None:
        """Refuses what is no height and width."""
        if not _two_integers(self.block) or min(self.block) < 1:
            raise SettingError(
                received=f"block={self.block!r}",
                expected="a height and a width of at least 1, such as (1, 4)",
                fix="leave block out to prune single weights",
            )

    def _check_m_by_n(self, m_by_n: tuple[int, int]) -> None:
        """Refuses impossible patterns, and settings that contradict the pattern."""
        if not _two_integers(m_by_n) or not 0 < m_by_n[0] < m_by_n[1]:
            raise SettingError(
                received=f"m_by_n={m_by_n!r}",
                expected="two integers, 0 < m < n",
                fix="(2, 4) is what hardware supports: 2 zeros in each 4 weights",
            )
        if self.block != (1, 1):
            raise SettingError(
                received=f"m_by_n={m_by_n} together with block={self.block}",
                expected="one pattern",
                fix="leave one of the two out",
            )
        share = m_by_n[0] / m_by_n[1]
        if not math.isclose(self.sparsity, share):
            raise SettingError(
                received=f"sparsity={self.sparsity} with m_by_n={m_by_n}",
                expected=f"sparsity={share:g}, the share of zeros of that pattern",
                fix=f"pass sparsity={share:g}",
            )

    @property
    def changes_nothing(self) -> bool:
        """Whether no weight is to be removed."""
        return self.sparsity == 0

    def check_order(self, model: tf_keras.Model) -> None:
        """Refuses a fake-quantized or clustered model: training would undo either."""
        refuse_fake_quantized(model, type(self).__name__)
        clustered = facts.clustered_layers(model)
        if clustered:
            raise TechniqueError(
                received=f"model {model.name!r}, in which weights of {', '.join(clustered[:5])} "
                "share few values, for MagnitudePruning",
                expected="a model before clustering, since training parts weights that share a "
                "value",
                fix=ORDER,
            )

    def reason_to_skip(self, kernel: Kernel) -> str | None:
        """Leaves alone depthwise kernels, and those the pattern does not fit."""
        shape = tuple(kernel.variable.shape)
        if "depthwise_kernel" in kernel.key and not self.named_in_only(kernel.layer):
            return "depthwise: few weights that matter much (name the layer in `only` to prune it)"
        if self.block != (1, 1) and (
            len(shape) != 2
            or any(size <= side for size, side in zip(shape, self.block, strict=True))
        ):
            return f"blocks of {self.block} need two dimensions larger than that; it has {shape}"
        if self.m_by_n is not None and len(shape) not in (2, 4):
            return f"m:n sparsity needs a kernel of two or four dimensions; it has {shape}"
        return None

    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns a copy of a model that is pruned while it is fitted.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Training steps in an epoch of the loop to come; the schedule is fitted
                to `epochs` times as many.
            representative: Not needed.

        Returns:
            The model, no callbacks, and `strip`, which raises TechniqueError if the model was
            not trained far enough for the sparsity.

        Raises:
            SettingError: There are too few steps for the schedule.
            TechniqueError: No layer can be pruned, or the model is clustered or fake-quantized.
        """
        own = load_model(model)
        selection, kernels = self.select(own), self.chosen_kernels(own)
        if self.changes_nothing:
            return Wrapped(own, [], lambda: clone(own), selection)
        schedule = self._fitted_schedule(steps_per_epoch)
        masks = Masks(
            kernels,
            schedule,
            block=self.block,
            block_pooling=self.block_pooling,
            m_by_n=self.m_by_n,
        )
        after_each_step(own, masks.advance)
        return Wrapped(own, [], lambda: self._strip(own, masks), selection)

    def _fitted_schedule(self, steps_per_epoch: int) -> tfmot.sparsity.keras.PruningSchedule:
        """The schedule for the steps there are: few updates, the last at the full sparsity."""
        if self.schedule == "constant" or self.m_by_n is not None:
            return tfmot.sparsity.keras.ConstantSparsity(
                self.sparsity, begin_step=FIRST_STEP, end_step=FIRST_STEP, frequency=1
            )
        if not isinstance(steps_per_epoch, int) or steps_per_epoch < 1:
            raise SettingError(
                received=f"steps_per_epoch={steps_per_epoch!r}",
                expected="the number of batches in an epoch of the training to come",
                fix="pass len(train) of a batched dataset",
            )
        steps = total_steps(self.epochs, steps_per_epoch)
        if steps < 2:
            raise SettingError(
                received=f"epochs={self.epochs:g} of {steps_per_epoch} step(s): {steps} training "
                "step",
                expected="at least 2 steps for a polynomial schedule: one to reach the sparsity "
                "and one to recover",
                fix=f"use epochs={2 / steps_per_epoch:.3g} or more, or schedule='constant', which "
                "prunes before the first step",
            )
        ramp = max(1, int(_RAMP * steps))
        frequency = math.ceil(ramp / _MOST_UPDATES)
        return tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=self.initial_sparsity,
            final_sparsity=self.sparsity,
            begin_step=FIRST_STEP,
            end_step=FIRST_STEP + ramp // frequency * frequency,
            power=3,
            frequency=frequency,
        )

    def _strip(self, model: tf_keras.Model, masks: Masks) -> tf_keras.Model:
        """A plain copy of the trained model, its masks applied and its sparsity proven."""
        masks.check_trained(self.sparsity)
        masks.apply()
        for kernel in masks.kernels:
            self._check_kernel(kernel)
        return clone(model)

    def _check_kernel(self, kernel: Kernel) -> None:
        """Refuses a kernel with fewer zeros than asked for, or not in the pattern asked for."""
        value = kernel.variable.numpy()
        if self.m_by_n is not None:
            reached, unit = _m_by_n_share(value, self.m_by_n), f"groups of {self.m_by_n[1]} weights"
            enough = reached == 1
        else:
            zeros = _zero_blocks(value, self.block)
            reached, unit = zeros.mean(), "weights" if self.block == (1, 1) else "blocks"
            # At least one is kept, and rounding to whole ones may leave one more.
            enough = zeros.sum() >= math.floor(zeros.size * self.sparsity) - 1
        if not enough:
            raise TechniqueError(
                received=f"{kernel.name} with {reached:.1%} of its {unit} pruned after training",
                expected=f"the sparsity that was asked for: {self.sparsity:.1%}",
                fix="train the wrapped model itself, and change its weights in no other way",
            )


def _two_integers(value: tuple[int, int]) -> bool:
    """Whether a setting is a pair of integers."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) for side in value)
    )


def _holds_blocks(shape: tuple[int, ...], block: tuple[int, int]) -> bool:
    """Whether a kernel has two dimensions, each larger than the block's."""
    return len(shape) == 2 and all(size > side for size, side in zip(shape, block, strict=True))


def _zero_blocks(value: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Which blocks hold nothing but zeros; with blocks of one weight, which weights are zero."""
    if block == (1, 1):
        return value == 0
    (height, width), (rows, columns) = value.shape, block
    padded = np.pad(value, ((0, -height % rows), (0, -width % columns)))
    blocks = padded.reshape(len(padded) // rows, rows, -1, columns)
    return (blocks == 0).all(axis=(1, 3))


def _m_by_n_share(value: np.ndarray, m_by_n: tuple[int, int]) -> float:
    """Share of the groups of n weights along the input channels with at most n - m non-zeros."""
    zeros, group = m_by_n
    channels = np.moveaxis(value, -2, -1).reshape(-1, value.shape[-2])
    padded = np.pad(channels, ((0, 0), (0, -channels.shape[1] % group)))
    nonzero = np.count_nonzero(padded.reshape(-1, group), axis=1)
    return float(np.mean(nonzero <= group - zeros))
