"""Channel pruning: whole channels are removed, and what is left is a smaller dense model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tfopt import training
from tfopt.channels.aim import AIMS, SHARES, Aim, Numbers, aim_of
from tfopt.channels.plan import Allocation, Plan, Shares
from tfopt.errors import SettingError, TechniqueError
from tfopt.fine_tuning import AnyModel, FineTuned, Usual, Wrapped
from tfopt.graph.batch_norm import recalibrate_batch_norm
from tfopt.graph.dependencies import Axis, Dependencies, analyse
from tfopt.graph.slicing import slice_channels
from tfopt.importance.reconstruction import refit, unfitted
from tfopt.importance.scores import NEED_INPUTS, NEED_LABELS, Importance, judged, judged_on, scores
from tfopt.keras_gate import clone, load_model, tf_keras
from tfopt.order import refuse_optimized
from tfopt.selection import select
from tfopt.sensitivity.allocation import Spread
from tfopt.sensitivity.measure import curves_for
from tfopt.sensitivity.probes import Probe, cut
from tfopt.settings import check_choices, check_counts, check_flags
from tfopt.technique import Selection, Skipped, Stage
from tfopt.training.strategies import scope

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChannelPruning(FineTuned):
    """Removes the least important channels of a model and trains what is left a little longer.

    The result is an ordinary dense model, smaller anywhere and faster on most hardware. Channels
    that hang together (over a residual sum, say) are removed together; those of the model's inputs
    and outputs stay, and so do those that reach a layer tfopt cannot cut, which are listed. Layers
    behind a cut are refitted and batch norms recalibrated on data, then the model is fine-tuned.

    The aim is one of `channels`, `macs`, `parameters` and `latency_ms`; as little as reaches it is
    removed. Sizes that the model leaves open are taken as 64, for a latency as the data has them.

    Args:
        channels: Share of the channels that can be removed to remove, 0 to below 1; channels that
            hang together count once. 0 changes nothing.
        macs: Share of the multiply-accumulate operations to remove, likewise.
        parameters: Share of the weights to remove, likewise.
        latency_ms: Median latency of a sample to reach, in milliseconds, on one thread of this
            machine. Measured, so not the same on another machine or run.
        latency_numerics: What the file computes with whose latency counts, `"int8"` or `"float32"`.
        importance: How channels are judged: `"l1"` or `"l2"` norm of all weights on them, the
            batch norms' scale (`"bn_scale"`; groups without are left whole), the loss's change to
            the first order (`"taylor"`, needs labels), the size of the activations, or their share
            in the next layer's output (`"reconstruction"`).
        allocation: Whether all channels compete (`"global"`: unimportant layers lose most, and a
            residual branch may go as a whole), each layer loses the same share (`"uniform"`), or
            more where the outputs suffer least, as measured on validation data (`"sensitivity"`).
        multiple_of: Channels are kept in multiples of so many, as kernels like them; of
            half as many, and so on, in a layer with fewer than four times that.
        refit: Refit the layers behind removed channels on representative data, to what they gave:
            dense layers and plain 2-D convolutions; the others are listed in the report.
        iterations: Remove in so many cuts, each followed by its part of the fine-tuning.
        epochs: Passes over the training data, all iterations together.
        learning_rate: Peak of the learning rate.
        only: Names or class names of the layers that may lose channels of their own; None for all.
        skip: Names or class names of layers to leave exactly as they are.
        teacher: As for every technique that fine-tunes.

    Raises:
        SettingError: A setting is out of its range, or there is not exactly one aim.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> technique = ChannelPruning(channels=0.5, epochs=0.5)
        >>> pruned = technique.apply(small_cnn(), tfopt.Task.digits())
        >>> pruned.get_layer("stem_conv").filters, small_cnn().get_layer("stem_conv").filters
        (4, 8)

    References:
        Fang et al., DepGraph: Towards Any Structural Pruning, 2023 (what is removed together). Li
        et al., Pruning Filters for Efficient ConvNets, 2017 (L1). Liu et al., Network Slimming,
        2017 (batch-norm scale). Molchanov et al., Importance Estimation for Neural Network Pruning,
        2019 (Taylor). He et al., Channel Pruning for Accelerating Very Deep Neural Networks, 2017
        (reconstruction).
    """

    stage: ClassVar[Stage] = Stage.STRUCTURE
    headline: ClassVar[tuple[str, ...]] = ("importance", "epochs")
    calibration_samples: ClassVar[int] = 256
    settled: ClassVar[float] = 0.0
    probed: ClassVar[tuple[str, ...]] = ("importance", "only", "skip")

    channels: float | None = None
    macs: float | None = None
    parameters: float | None = None
    latency_ms: float | None = None
    latency_numerics: Numbers = "int8"
    importance: Importance = "l2"
    allocation: Allocation = "global"
    multiple_of: int = 8
    refit: bool = True
    iterations: int = 1
    epochs: float = Usual(2)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._aim  # noqa: B018 - refuses what is no aim
        check_flags(self, "refit")
        check_choices(self, importance=Importance, allocation=Allocation)
        check_counts(self, multiple_of=1, iterations=1)
        if self.steps is not None:
            self._check_steps(self.steps)

    def _check_steps(self, steps: int) -> None:
        """Refuses fewer steps than trainings."""
        if steps < self.iterations:
            raise SettingError(
                received=f"iterations={self.iterations} with {steps} training step(s)",
                expected="a training step for each iteration at least",
                fix="train longer, or remove all channels in one cut",
            )

    @property
    def _aim(self) -> Aim:
        return aim_of({name: getattr(self, name) for name in AIMS}, self.latency_numerics)

    @property
    def changes_nothing(self) -> bool:
        """Whether nothing is to be removed."""
        return self._aim.value == 0

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers may get smaller, and why the others stay as they are.

        Raises:
            SettingError: `only` or `skip` names a layer that is not there.
            TechniqueError: Nothing can be removed, or not as much as is asked for; or the model is
                pruned, clustered or fake-quantized.
        """
        refuse_optimized(model, self.name)
        found = self._dependencies(model)
        free = np.zeros(found.units, bool)
        for group in found.groups:
            free[group.units] = True

        def reason(layer: tf_keras.layers.Layer) -> str | None:
            axes = found.axes_of(layer)
            if any(free[axis.ids].any() for axis in axes):
                return None
            made = [axis for axis in axes if axis.role == "makes"] + axes
            if made:
                return found.reasons[int(made[0].ids[0])]
            return found.whole.get(layer.name, "has no weights along channels")

        selection = select(model, reason, skip=self.skip)
        if not self.changes_nothing:
            self._check_reach(found, selection)
        return selection

    def changed(self, model: tf_keras.Model, optimized: tf_keras.Model) -> Selection:
        """Says what `select` does, and which layers behind removed channels were not refitted."""
        selection = self.select(model)
        if not self.refit:
            return selection
        left = tuple(
            Skipped(name, type(model.get_layer(name)).__name__, f"cut, but not refitted: {reason}")
            for name, reason in unfitted(self._dependencies(model), optimized).items()
        )
        return Selection(selection.touched, (*selection.skipped, *left))

    def _dependencies(self, model: tf_keras.Model) -> Dependencies:
        """What goes together in a model, with what the settings leave alone."""
        if self.only is not None:
            select(model, lambda layer: None, only=self.only)  # refuses unknown names
        return judged(analyse(model, self._reason_to_keep), self.importance)

    def _reason_to_keep(self, axis: Axis) -> str | None:
        """Why the user's settings keep the channels along an axis."""
        layer = axis.layer
        names = layer.name, type(layer).__name__
        if not layer.trainable:
            return f"{layer.name} is frozen (trainable=False)"
        if any(name in self.skip for name in names):
            return f"{layer.name} is named in skip={self.skip!r}"
        makes = axis.role in ("makes", "heads")
        if makes and self.only is not None and not any(name in self.only for name in names):
            return f"{layer.name} is not named in only={self.only!r}"
        return None

    def _check_reach(self, found: Dependencies, selection: Selection) -> None:
        """Refuses an aim that can be counted, and that the emptiest model misses."""
        if not found.groups:
            reasons = dict.fromkeys(f"{skip.layer}: {skip.reason}" for skip in selection.skipped)
            raise TechniqueError(
                received=f"model {found.model.name!r}, of which ChannelPruning can remove no "
                f"channel ({'; '.join(list(reasons)[:5])})",
                expected="at least one layer whose channels do not reach the model's output",
                fix="unfreeze a layer, or correct the settings that leave the layers out",
            )
        if self._aim.name in SHARES:
            self._limits(found)

    def _plan(self, found: Dependencies, scores: np.ndarray, shares: Shares | None = None) -> Plan:
        how, step = self.allocation, self.multiple_of
        return Plan(found, scores, allocation=how, multiple_of=step, shares=shares)

    def _limits(self, found: Dependencies, inputs: Arrays | None = None) -> list[float]:
        """The most that may be left after each iteration; TechniqueError if that is too little."""
        plan = self._plan(found, np.zeros(found.units))
        return self._aim.limits(found, plan, self.iterations, like=inputs)

    def _scores(self, found: Dependencies, task: Task | None, inputs: Arrays | None) -> np.ndarray:
        samples = self.calibration_samples
        return scores(found, self.importance, inputs=inputs, task=task, samples=samples)

    def judged_on(self, task: Task) -> str | None:
        """Returns a checksum of the samples that channels are judged on, None without."""
        return judged_on(self.importance, task, self.calibration_samples)

    def probes(
        self, model: tf_keras.Model, *, task: Task | None = None, inputs: Arrays | None = None
    ) -> list[Probe]:
        """Returns how to remove channels of each group of a model alone."""
        found = self._dependencies(model)
        if task is not None and inputs is None:
            inputs = task.representative_inputs(self.calibration_samples)
        return cut(found, self._scores(found, task, inputs))

    def _shares(
        self, found: Dependencies, task: Task | None, inputs: Arrays | None
    ) -> Shares | None:
        """What each group loses by what was measured, if that is asked for."""
        if self.allocation != "sensitivity":
            return None
        curves = curves_for(found.model, self, task=task, inputs=inputs)
        return Spread(curves, self._aim.field).in_order

    @property
    def trainings(self) -> int:
        """A training after each cut."""
        return self.iterations

    def _trained(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """The model cut and trained in turns."""
        self.select(model)
        self._check_steps(self.steps_in(training.steps_per_epoch(task)))
        task.check_training(model)
        inputs = task.representative_inputs(self.calibration_samples)
        with scope(task):
            own = clone(model)
            for place, limit in enumerate(self._limits(self._dependencies(own), inputs)):
                own = self._pruned(own, limit, inputs, task)
                self._teach(own, model, task)
                self.train(own, task, part=(place, self.iterations))
        return clone(own)

    def _tried(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """The model after the first cut, the largest that is trained."""
        task.check_training(model)
        inputs = task.representative_inputs(self.calibration_samples)
        own = clone(model)
        own = self._pruned(own, self._limits(self._dependencies(own), inputs)[0], inputs, task)
        self._teach(own, model, task)
        return own

    def _pruned(
        self, model: tf_keras.Model, limit: float, inputs: Arrays | None, task: Task | None
    ) -> tf_keras.Model:
        """A model without its least important channels, ready to be trained."""
        found = self._dependencies(model)
        score = self._scores(found, task, inputs)
        plan = self._plan(found, score, self._shares(found, task, inputs))
        kept = self._aim.reach(found, plan, limit, like=inputs)
        sliced = slice_channels(found, kept)
        if inputs is not None:
            if self.refit:
                refit(sliced, found, kept, inputs)
            recalibrate_batch_norm(sliced, inputs)
        return sliced

    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns a smaller model to train.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Not needed.
            representative: Inputs to refit and to recalibrate batch norms with, and that some kinds
                of importance need; with None, all of that is left to the training.

        Returns:
            The model, no callbacks, and `strip`, which returns a copy of it.

        Raises:
            SettingError: The settings need labels, several trainings, or inputs that are missing.
            TechniqueError: The aim cannot be reached on this model.
        """
        self.check_loop(steps_per_epoch)
        own = load_model(model)
        selection = self.select(own)
        if not self.changes_nothing:
            self._check_wrap(representative)
            limit = self._limits(self._dependencies(own), representative)[-1]
            own = self._pruned(own, limit, representative, None)
        return Wrapped(own, [], lambda: clone(own), selection)

    def _check_wrap(self, representative: Arrays | None) -> None:
        """Refuses what a training loop of the user's own cannot do."""
        missing = None
        if self.importance in NEED_LABELS:
            missing = "labels, which wrap is not given"
        elif self.iterations > 1:
            missing = "a training after each iteration"
        elif representative is None and (
            self.importance in NEED_INPUTS or self.allocation == "sensitivity"
        ):
            missing = "representative inputs"
        if missing is not None:
            raise SettingError(
                received=f"importance={self.importance!r}, iterations={self.iterations}, "
                f"allocation={self.allocation!r} for wrap",
                expected=f"settings that do without {missing}",
                fix="use apply or tfopt.optimize, importance='l2', or pass representative inputs",
            )
