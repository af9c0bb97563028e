"""Magnitude pruning: the smallest weights become zero while the others learn to do without them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from tfopt import training
from tfopt.errors import SettingError, TechniqueError
from tfopt.fine_tuning import AnyModel, Usual, Wrapped
from tfopt.gains import Gains
from tfopt.keras2.protocols import PRUNABLE
from tfopt.keras_gate import clone, load_model, tf_keras, tfmot
from tfopt.kernel_technique import Kernel, KernelTechnique
from tfopt.masks import Masks, at_once, growing, m_by_n_share, two_integers, zero_blocks
from tfopt.order import refuse_clustered, refuse_fake_quantized
from tfopt.sensitivity.measure import curves_for
from tfopt.sensitivity.probes import Probe, pruned
from tfopt.sensitivity.zeros import competing, zeros
from tfopt.settings import check_choices, check_share
from tfopt.technique import Stage
from tfopt.training.updates import after_each_step

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.sensitivity.records import Curve
    from tfopt.task import Task

Schedule = Literal["polynomial", "constant"]
Pooling = Literal["avg", "max"]
Allocation = Literal["uniform", "global", "sensitivity"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MagnitudePruning(KernelTechnique):
    """Sets the share `sparsity` of the kernels' weights to zero, the smallest ones.

    With `schedule="polynomial"` the share grows during the first half of the training, and the
    other half recovers from it; with `"constant"` all of it is pruned before the first step. The
    schedule is fitted to the number of steps there really are. Zeros the model already has are
    kept, in the kernels that are left alone, too. Zeros make a file smaller once it is compressed,
    and faster only on hardware or kernels that skip them.

    Depthwise kernels hold few weights and much of the accuracy: they are left alone unless `only`
    names their layer.

    Args:
        sparsity: Share of zeros, 0 to below 1. 0 changes nothing.
        allocation: `"uniform"` for the same share in each kernel; `"global"` for kernels that
            compete by how much of their energy a weight holds; `"sensitivity"` for more zeros
            where the outputs suffer least from them, as measured on validation data.
        schedule: `"polynomial"` or `"constant"`. With `m_by_n`, always constant.
        initial_sparsity: The share the polynomial schedule starts from; no other has one.
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
        >>> import numpy as np
        >>> from tfopt import facts
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
        Networks, 2021, section 3 (2:4 sparsity). Lee et al., Layer-adaptive Sparsity for the
        Magnitude-based Pruning, 2021, equation 3 (`"global"`).
    """

    stage: ClassVar[Stage] = Stage.SPARSITY
    headline: ClassVar[tuple[str, ...]] = ("sparsity", "epochs")
    protocol: ClassVar[str] = PRUNABLE

    probed: ClassVar[tuple[str, ...]] = ("only", "skip")

    sparsity: float = 0.5
    allocation: Allocation = "uniform"
    schedule: Schedule = "polynomial"
    initial_sparsity: float = 0.0
    block: tuple[int, int] = (1, 1)
    block_pooling: Pooling = "avg"
    m_by_n: tuple[int, int] | None = None
    epochs: float = Usual(2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("block", "m_by_n"):
            if isinstance(getattr(self, field), list):
                object.__setattr__(self, field, tuple(getattr(self, field)))
        self._check_sparsity()
        check_choices(self, schedule=Schedule, allocation=Allocation, block_pooling=Pooling)
        self._check_block()
        if self.m_by_n is not None:
            self._check_m_by_n(self.m_by_n)
        if self.allocation != "uniform" and (self.block != (1, 1) or self.m_by_n is not None):
            pattern = f"m_by_n={self.m_by_n}" if self.m_by_n else f"block={self.block}"
            raise SettingError(
                received=f"allocation={self.allocation!r} with {pattern}",
                expected="single weights, which the layers are compared by",
                fix="leave one of the two out",
            )

    def _check_sparsity(self) -> None:
        """Refuses shares outside 0..1, and a schedule that would have to un-prune."""
        check_share(
            "pass the share of weights to remove, such as 0.5",
            whole=False,
            sparsity=self.sparsity,
            initial_sparsity=self.initial_sparsity,
        )
        if self.initial_sparsity > self.sparsity:
            raise SettingError(
                received=f"initial_sparsity={self.initial_sparsity} above sparsity={self.sparsity}",
                expected="a start that is at most the end",
                fix="leave initial_sparsity out to start at 0",
            )
        if self.initial_sparsity and self._at_once:
            pattern = f"m_by_n={self.m_by_n}" if self.m_by_n else "schedule='constant'"
            raise SettingError(
                received=f"initial_sparsity={self.initial_sparsity} with {pattern}",
                expected="a polynomial schedule: all is pruned before the first step here",
                fix="leave one of the two out",
            )

    @property
    def _at_once(self) -> bool:
        """Whether all is pruned before the first step."""
        return self.schedule == "constant" or self.m_by_n is not None

    def _check_block(self) -> None:
        """Refuses what is no height and width."""
        if not two_integers(self.block) or min(self.block) < 1:
            raise SettingError(
                received=f"block={self.block!r}",
                expected="a height and a width of at least 1, such as (1, 4)",
                fix="leave block out to prune single weights",
            )

    def _check_m_by_n(self, m_by_n: tuple[int, int]) -> None:
        """Refuses impossible patterns, and settings that contradict the pattern."""
        if not two_integers(m_by_n) or not 0 < m_by_n[0] < m_by_n[1]:
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
        refuse_clustered(model, type(self).__name__)

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

    def judged_on(self, task: Task) -> None:
        """The weights alone say what goes first."""

    def probes(
        self, model: tf_keras.Model, *, task: Task | None = None, inputs: Arrays | None = None
    ) -> list[Probe]:
        """Returns how to prune each kernel of a model alone."""
        return pruned(model, self.chosen_kernels(model))

    def wrap_for(self, model: tf_keras.Model, task: Task) -> Wrapped:
        """Returns what `wrap` does, with the steps and the validation data of a task."""
        curves = curves_for(model, self, task=task) if self._measures else ()
        return self._wrapped(load_model(model), curves, training.steps_per_epoch(task))

    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns a copy of a model that is pruned while it is fitted.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Training steps in an epoch of the loop to come; the schedule is fitted
                to `epochs` times as many.
            representative: Inputs to measure on, with `allocation="sensitivity"`.

        Returns:
            The model, no callbacks, and `strip`, which raises TechniqueError if the model was
            not trained far enough for the sparsity.

        Raises:
            SettingError: There are too few steps for the schedule, or inputs are missing.
            TechniqueError: No layer can be pruned, or the model is clustered or fake-quantized.
        """
        self.check_loop(steps_per_epoch)
        own = load_model(model)
        curves = curves_for(own, self, inputs=representative) if self._measures else ()
        return self._wrapped(own, curves, steps_per_epoch)

    @property
    def _measures(self) -> bool:
        return self.allocation == "sensitivity" and not self.changes_nothing

    def _wrapped(
        self, own: tf_keras.Model, curves: Sequence[Curve], steps_per_epoch: int
    ) -> Wrapped:
        selection, kernels = self.select(own), self.chosen_kernels(own)
        if self.changes_nothing:
            return Wrapped(own, [], lambda: clone(own), selection)
        shares = self._shares(kernels, curves)
        masks = Masks(
            kernels,
            self._fitted_schedule(steps_per_epoch),
            shares=shares,
            block=self.block,
            block_pooling=self.block_pooling,
            m_by_n=self.m_by_n,
        )
        after_each_step(own, masks.advance)
        gains = Gains(own, but=[kernel.variable for kernel in kernels])
        if gains:
            after_each_step(own, gains.keep)

        def strip() -> tf_keras.Model:
            gains.check()
            return self._strip(own, masks, shares)

        return Wrapped(own, [], strip, selection)

    def _shares(self, kernels: list[Kernel], curves: Sequence[Curve]) -> list[float]:
        """The share of zeros of each kernel, which make up the sparsity together."""
        if self.allocation == "global":
            return competing([kernel.variable.numpy() for kernel in kernels], self.sparsity)
        if self.allocation == "sensitivity":
            values = {kernel.name: kernel.variable.numpy() for kernel in kernels}
            sizes = {name: value.size for name, value in values.items()}
            present = {name: float((value == 0).mean()) for name, value in values.items()}
            return list(zeros(sizes, curves, self.sparsity, present=present).values())
        return [self.sparsity] * len(kernels)

    def _fitted_schedule(self, steps_per_epoch: int) -> tfmot.sparsity.keras.PruningSchedule:
        """The schedule for the steps there are."""
        if self._at_once:
            return at_once(self.sparsity)
        steps = self.steps_in(steps_per_epoch)
        if steps < 2:
            raise SettingError(
                received=f"steps={self.steps}"
                if self.steps is not None
                else f"epochs={self.epochs:g} of {steps_per_epoch} step(s): {steps} training step",
                expected="at least 2 steps for a polynomial schedule: one to reach the sparsity "
                "and one to recover",
                fix="use "
                + ("steps=2" if self.steps is not None else f"epochs={2 / steps_per_epoch:.3g}")
                + " or more, or schedule='constant', which prunes before the first step",
            )
        return growing(self.initial_sparsity, self.sparsity, steps)

    def _strip(
        self, model: tf_keras.Model, masks: Masks, shares: Sequence[float]
    ) -> tf_keras.Model:
        """A plain copy of the trained model, its masks applied and its sparsity proven."""
        masks.check_trained(self.sparsity)
        masks.apply()
        for kernel, share in zip(masks.kernels, shares, strict=True):
            self._check_kernel(kernel, share)
        return clone(model)

    def _check_kernel(self, kernel: Kernel, share: float) -> None:
        """Refuses a kernel with fewer zeros than asked for, or not in the pattern asked for."""
        value = kernel.variable.numpy()
        if self.m_by_n is not None:
            reached, unit = m_by_n_share(value, self.m_by_n), f"groups of {self.m_by_n[1]} weights"
            enough = reached == 1
        else:
            empty = zero_blocks(value, self.block)
            reached, unit = empty.mean(), "weights" if self.block == (1, 1) else "blocks"
            # At least one is kept, and rounding to whole ones may leave one more.
            enough = empty.sum() >= math.floor(empty.size * share) - 1
        if not enough:
            raise TechniqueError(
                received=f"{kernel.name} with {reached:.1%} of its {unit} pruned after training",
                expected=f"the sparsity that was asked for: {share:.1%}",
                fix="train the wrapped model itself, and change its weights in no other way",
            )
