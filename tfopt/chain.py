"""A baseline and what techniques make of it, step by step, each proven and measured."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfopt import facts, training
from tfopt.checkpoints import Checkpoint, Checkpoints
from tfopt.errors import LostGainError, SettingError
from tfopt.fine_tuning import FineTuned
from tfopt.keras_gate import load_model
from tfopt.measure.checks import check_drops
from tfopt.measure.groups import check_groups
from tfopt.measurement import Done, Measurements
from tfopt.removed import Names, RemovedLayerWarning, untouched
from tfopt.target import Target, check_target
from tfopt.task.base import check_task
from tfopt.technique import Stage, Technique, check_left, check_order
from tfopt.tflite.sparse import encode

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task


class UnusedTrainingWarning(UserWarning):
    """A technique trains for something that the target's file does not have."""


class Chain:
    """What `optimize` and `ablate` share. What would fail after minutes is refused in seconds.

    Args:
        model: A path, a Keras 3 model or a tf_keras model. It is left as it was.
        techniques: The techniques that are to be applied.
        task: Data, loss, metric and seed.
        target: What each step's file is made for; sparse encoding has a row of its own, at the end,
            so that what it buys is seen.
        cache: A directory that keeps what a technique has made, or None.
        alone: Whether each technique is applied to the baseline, too.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Any,
        techniques: Sequence[Technique],
        *,
        task: Task,
        target: Target,
        cache: str | os.PathLike[str] | None,
        alone: bool = False,
    ) -> None:
        _check_techniques(techniques)
        check_task(task)
        check_target(target)
        check_drops(task.metric, **target.drops)
        _check_bits(techniques, target)
        for told in (one for technique in techniques for one in _unused(technique, target)):
            warnings.warn(told, stacklevel=3)
        self._whole_target = target
        self.target = dataclasses.replace(target, sparse_encoding=False)
        self.baseline = load_model(model)
        facts.check_usable(self.baseline)
        task.check_training(self.baseline)
        current, selections, begun = self.baseline, [], [self.baseline]
        for technique in techniques:
            selections.append(technique.select(current))
            if alone and current is not self.baseline:
                technique.select(self.baseline)
            current = technique.begun_with(current)
            begun.append(current)
        check_left(techniques, selections)
        self._names = Names(*begun)
        self.task = dataclasses.replace(task, teacher=self.baseline)
        self.rows = Measurements(task)
        self.rows.add("baseline", self.baseline, Target.float32())
        if target.max_group_drop is not None:
            check_groups(task, self.rows.measured[0].quality)
        if target.numerics != "float32" or not techniques:
            self.rows.add("conversion only", self.baseline, self.target)
        self._checkpoints = Checkpoints(cache, self.task)

    def apply(self, technique: Technique, model: tf_keras.Model) -> Checkpoint:
        """Applies a technique and proves that what earlier steps gained still holds.

        Names of layers that earlier steps have removed whole are left out of its settings, and told
        among the layers skipped. A step that was to touch no others is left out.

        Args:
            technique: The technique; its seconds become steps, which can be made again.
            model: A model that the chain has made, or the baseline.

        Warns:
            RemovedLayerWarning: The step is left out.

        Raises:
            TechniqueError: As `technique.apply` does.
            LostGainError: Sparsity or clusters of the model are gone.
        """
        left = self._names.left(technique, model)
        if left.technique is None:
            told = RemovedLayerWarning(
                f"{technique.name}({technique.settings}) is left out: earlier steps have removed "
                "all the layers that it names"
            )
            warnings.warn(told, stacklevel=3)
            selection = left.told(untouched(technique, model))
            return Checkpoint(technique, model, Done(selection, technique.settings))
        place = self._checkpoints.place(left.technique, model)
        made = self._checkpoints.find(place, left.technique, model)
        if made is None:
            made = self._made(left.technique, model)
            self._checkpoints.keep(place, made)
        if not left.skipped:
            return made
        asked = left.asked(made.technique)
        selection = left.told(made.done.selection)
        done = dataclasses.replace(made.done, selection=selection, settings=asked.settings)
        return dataclasses.replace(made, technique=asked, done=done)

    def _made(self, technique: Technique, model: tf_keras.Model) -> Checkpoint:
        before = facts.measure(model)
        if isinstance(technique, FineTuned):
            technique = technique.pinned(model, self.task)
        with training.recorded() as trainings:
            optimized = technique.apply(model, self.task)
        lost = facts.lost_gains(before, facts.measure(optimized))
        if lost:
            raise LostGainError(
                received=f"a model that lost what earlier steps gained: {'; '.join(lost)}",
                expected=f"{technique.name} to keep the sparsity and the clusters it finds",
                fix=_way_to_keep(technique),
            )
        selection = technique.changed(model, optimized)
        done = Done(selection, technique.settings, tuple(trainings))
        return Checkpoint(technique, optimized, done)

    def measure(self, name: str, made: Checkpoint, *, step_before: int | None = None) -> int:
        """Adds a row for what a technique has made, and returns its position.

        Args:
            name: What the row is called.
            made: What the technique has made.
            step_before: The position of the row that it was made from; None for the row above.
        """
        target, removed = self._names.target_left(self.target, made.model)
        told = (*_unused(made.technique, target), *removed)
        self.rows.add(name, made.model, target, made.done, told=told, step_before=step_before)
        return len(self.rows.files) - 1

    def target_of(self, model: tf_keras.Model) -> Target:
        """Returns the target for a model that the chain has made, which may have fewer layers."""
        return self._names.target_left(self.target, model)[0]

    def encode(self) -> None:
        """Adds the row of the sparse encoding, if the target asks for it, and what it bought."""
        if not self._whole_target.sparse_encoding:
            return
        encoded, selection = encode(self.rows.files[-1])
        told = () if selection.touched else ("No kernel gets smaller: the file stays as it is.",)
        self.rows.add_file(
            "sparse encoding", encoded, self._whole_target, Done(selection), told=told
        )


def _check_techniques(techniques: Sequence[Technique]) -> None:
    """Refuses what is no sequence of techniques, or an order that cannot work."""
    if isinstance(techniques, Technique) or not isinstance(techniques, Sequence):
        raise SettingError(
            received=f"techniques={techniques!r}",
            expected="a list of techniques",
            fix="put it into a list: [tfopt.QuantizationAware()]",
        )
    for technique in techniques:
        if not isinstance(technique, Technique):
            raise SettingError(
                received=f"{technique!r} among the techniques",
                expected="instances of techniques",
                fix="call the class: tfopt.QuantizationAware()",
            )
    check_order(techniques)


def _way_to_keep(technique: Technique) -> str:
    """What to do about a step that undoes an earlier one's gains: what it skips keeps them."""
    leave_out = "leave one of the two steps out"
    if not hasattr(technique, "skip"):
        return leave_out
    return f"add the layers named to skip of {technique.name}, which keeps theirs, or {leave_out}"


def _unused(technique: Technique, target: Target) -> tuple[UnusedTrainingWarning, ...]:
    """What to say of a training for the rounding of integer files, where no such file is made."""
    learns_to_round = isinstance(technique, FineTuned) and technique.stage is Stage.QUANTIZATION
    if target.integer_only or not learns_to_round:
        return ()
    told = UnusedTrainingWarning(
        f"{technique.name} trains for the rounding of an integer file, which is left out of one "
        f"with numerics={target.numerics!r}: the training is for nothing. Make the file with "
        "Target.int8(), or leave the step out."
    )
    return (told,)


def _check_bits(techniques: Sequence[Technique], target: Target) -> None:
    """Refuses weights made for 8 bits where the file rounds them to 4."""
    for technique in techniques:
        if target.numerics == "int4_weights" and getattr(technique, "bits", 4) != 4:
            raise SettingError(
                received=f"{technique.name}(bits={technique.bits}) for a file of 4-bit weights",  # type: ignore[attr-defined]
                expected="weights made for the numbers they will have",
                fix=f"write {technique.name}(bits=4), or make the file with Target.int8()",
            )
