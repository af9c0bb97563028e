"""The main job: apply techniques in order, and measure after each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfopt import facts, training
from tfopt.errors import LostGainError, SettingError
from tfopt.files import write_directory
from tfopt.fine_tuning import FineTuned
from tfopt.keras_gate import load_model, save_model
from tfopt.measure.groups import check_groups
from tfopt.measure.paired import drop
from tfopt.measurement import Done, Measured, Measurements, environment
from tfopt.post_training.choice import Refined, can_refine, refine
from tfopt.post_training.precision import can_mix
from tfopt.recipe import FILE_NAME as RECIPE_FILE
from tfopt.recipe import Recipe
from tfopt.report import LayerSensitivity, Report, Trial
from tfopt.reporting.card import model_card
from tfopt.reporting.html import page
from tfopt.reporting.saved import CARD_FILE, MODEL_FILE, PAGE_FILE, REPORT_FILE
from tfopt.target import Target, check_target
from tfopt.task.base import check_task
from tfopt.technique import Stage, Technique, check_order
from tfopt.tflite.sparse import encode
from tfopt.usage import Usage

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task

BASELINE_FILE = "baseline.h5"


@dataclasses.dataclass(frozen=True)
class Result:
    """What `optimize` returns.

    Args:
        tflite: The file for the device.
        model: The optimized tf_keras model it was converted from.
        report: What every step did.
        recipe: How to make it again.
        baseline: The tf_keras model everything started from.
    """

    tflite: bytes = dataclasses.field(repr=False)
    model: tf_keras.Model
    report: Report
    recipe: Recipe
    baseline: tf_keras.Model

    def save(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes the file, the report (`.html`, `.md`, `.json`), model card, recipe and baseline.

        Args:
            directory: Made if missing; all files appear in it at once, or none.
            overwrite: Replace a result the directory already holds.

        Returns:
            The directory.

        Raises:
            OutputExistsError: The directory is not empty and `overwrite` is not set.
            OutputError: It cannot be written.
        """
        parts: dict[str, Any] = {
            "recipe": self.recipe.to_dict(),
            "tflite": self.tflite,
            "name": Path(directory).resolve().name,
        }
        with write_directory(directory, overwrite=overwrite) as new:
            (new / MODEL_FILE).write_bytes(self.tflite)
            report = json.dumps(self.report.to_dict(), indent=2) + "\n"
            (new / REPORT_FILE).write_text(report, encoding="utf-8")
            (new / "report.md").write_text(self.report.to_markdown(), encoding="utf-8")
            (new / PAGE_FILE).write_text(page(self.report, **parts), encoding="utf-8")
            (new / CARD_FILE).write_text(model_card(self.report, **parts), encoding="utf-8")
            (new / RECIPE_FILE).write_text(self.recipe.to_json(), encoding="utf-8")
            save_model(self.baseline, new / BASELINE_FILE)
        return Path(directory)


def optimize(
    model: str | os.PathLike[str] | Any,
    techniques: Sequence[Technique],
    *,
    task: Task,
    target: Target,
) -> Result:
    """Applies techniques in order, converts, and measures after every step in the interpreter.

    The rows of the report are the float32 baseline, the baseline as the target's file (unless the
    target is float32: what conversion alone does), and each technique's file for the target. At
    the end, unless a technique has rounded the weights already, post-training techniques
    are tried; if one makes a better file on the validation data, that is the last row. So is a file
    with layers in finer numbers, where the target's `max_accuracy_drop` would not be kept else.

    Args:
        model: A path, a Keras 3 model or a tf_keras model. It is left as it was.
        techniques: The steps, in order; none means conversion only.
        task: Data, loss, metric and seed. The global random seeds are set from it.
        target: The numbers the device computes with, and the budgets.

    Returns:
        The file, the model, the report and the recipe.

    Raises:
        ModelError: The model cannot be loaded or translated.
        DataError: The data does not fit the model.
        SettingError: `techniques` is no list of techniques, or their order cannot work; or `task`
            or `target` is none.
        TechniqueError: A technique cannot work on this model or missed its aim.
        LostGainError: A step undid what an earlier one had gained.
        ConversionError: The converter failed, or the file is not what the target asks for.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> result = tfopt.optimize(small_cnn(), [], task=tfopt.Task.digits(),
        ...                         target=tfopt.Target.int8(refine=False))
        >>> [step.numerics for step in result.report.steps]
        ['float32', 'int8']
        >>> tfopt.inspect(result.tflite).integer_only
        True
    """
    dense = _dense(target)
    baseline, steps = _begin(model, techniques, task, dense)
    task = dataclasses.replace(task, teacher=baseline)
    current = baseline
    applied = []
    for technique in techniques:
        applied.append(_apply(technique, current, task))
        current = applied[-1].model
        steps.add(technique.name, current, dense, applied[-1].done)
    trials: tuple[Trial, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()
    refined = _refined(current, techniques, task, dense, steps.measured)
    if refined is not None:
        current, trials, sensitivity = refined.best.model, refined.trials, refined.sensitivity
        if refined.is_changed:
            way = f"{refined.name}: the best of {refined.files} files"
            steps.add_measured("post-training", refined.best, Done(settings=way))
    _encode(steps, target)
    report = steps.report(target, trials=trials, sensitivity=sensitivity)
    recipe = Recipe(
        techniques=tuple(step.technique for step in applied),
        target=target,
        seed=task.seed,
        made_from=_made_from(baseline, task, steps.files[-1]),
    )
    return Result(steps.files[-1], current, report, recipe, baseline)


def _refined(
    model: tf_keras.Model,
    techniques: Sequence[Technique],
    task: Task,
    target: Target,
    known: Sequence[Measured],
) -> Refined | None:
    """What can be done without training; None if there is nothing to try."""
    rounded = any(technique.stage >= Stage.QUANTIZATION for technique in techniques)
    change_weights = can_refine(model, target) and not rounded
    baseline, limit = known[0].quality, target.max_accuracy_drop
    lost = drop(known[-1].quality, baseline, seed=task.seed).value
    too_much = limit is not None and can_mix(target) and not lost <= limit
    if not (change_weights or too_much):
        return None
    return refine(
        model,
        task=task,
        target=target,
        known=known,
        baseline=baseline,
        change_weights=change_weights,
    )


def _dense(target: Target) -> Target:
    """The target without sparse encoding, which has a row of its own: what it buys is seen."""
    # a recipe's target or anything else may have come in: `_begin` says so
    if not isinstance(target, Target) or not target.sparse_encoding:
        return target
    return dataclasses.replace(target, sparse_encoding=False)


def _encode(steps: Measurements, target: Target) -> None:
    """Adds the row of the sparse encoding, if the target asks for it, and what it bought."""
    if not target.sparse_encoding:
        return
    encoded, selection = encode(steps.files[-1])
    told = () if selection.touched else ("No kernel gets smaller: the file stays as it is.",)
    steps.add_file("sparse encoding", encoded, target, Done(selection), told=told)


def ablate(
    model: str | os.PathLike[str] | Any,
    techniques: Sequence[Technique],
    *,
    task: Task,
    target: Target,
) -> Report:
    """Measures each technique alone, then stacked in order: what each one brings.

    All start from one baseline with the same data and seed, and every row is the file for the
    target, converted as it is.

    Args:
        model: A path, a Keras 3 model or a tf_keras model. It is left as it was.
        techniques: The techniques, in an order that works stacked.
        task: Data, loss, metric and seed.
        target: The numbers the device computes with, and the budgets of the last row.

    Returns:
        The report: the float32 baseline, the conversion alone, a row for each technique alone, and
        one for each stack of two and more.

    Raises:
        TfoptError: As `optimize` does.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import dense_net
        >>> steps = [tfopt.MagnitudePruning(epochs=0.2), tfopt.WeightClustering(epochs=0.2)]
        >>> target = tfopt.Target.int8()
        >>> report = ablate(dense_net(), steps, task=tfopt.Task.digits(), target=target)
        >>> [step.name for step in report.steps[2:]]
        ['MagnitudePruning alone', 'WeightClustering alone', 'MagnitudePruning + WeightClustering']
    """
    dense = _dense(target)
    baseline, steps = _begin(model, techniques, task, dense)
    task = dataclasses.replace(task, teacher=baseline)
    alone = []
    for technique in techniques:
        alone.append(one := _apply(technique, baseline, task))
        steps.add(f"{technique.name} alone", one.model, dense, one.done)
    current = alone[0].model if alone else baseline
    for count, one in enumerate(alone[1:], start=2):
        stacked = _apply(one.technique, current, task)  # as many steps as alone
        current = stacked.model
        name = " + ".join(step.name for step in techniques[:count])
        steps.add(name, current, dense, stacked.done)
    _encode(steps, target)
    return steps.report(target)


def _begin(
    model: str | os.PathLike[str] | Any, techniques: Sequence[Technique], task: Task, target: Target
) -> tuple[tf_keras.Model, Measurements]:
    """Refuses in seconds what would fail after minutes, and measures the baseline."""
    _check_techniques(techniques)
    check_task(task)
    check_target(target)
    baseline = load_model(model)
    task.check_training(baseline)
    for technique in techniques:
        technique.select(baseline)
    steps = Measurements(task)
    steps.add("baseline", baseline, Target.float32())
    if target.max_group_drop is not None:
        check_groups(task, steps.measured[0].quality)
    if target.numerics != "float32" or not techniques:
        steps.add("conversion only", baseline, target)
    return baseline, steps


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


@dataclasses.dataclass(frozen=True)
class _Applied:
    """A technique as it was applied, what came out, and what there is to tell of it."""

    technique: Technique
    model: tf_keras.Model
    done: Done


def _apply(technique: Technique, model: tf_keras.Model, task: Task) -> _Applied:
    """Applies one technique and proves that what earlier steps gained still holds."""
    selection = technique.select(model)
    before = facts.measure(model)
    if isinstance(technique, FineTuned):  # seconds become steps, which can be made again
        technique = technique.pinned(model, task)
    with training.recorded() as trainings:
        optimized = technique.apply(model, task)
    lost = facts.lost_gains(before, facts.measure(optimized))
    if lost:
        raise LostGainError(
            received=f"a model that lost what earlier steps gained: {'; '.join(lost)}",
            expected=f"{technique.name} to keep the sparsity and the clusters it finds",
            fix="put the step before the one whose gain it undid, or skip the layers named",
        )
    return _Applied(technique, optimized, Done(selection, technique.settings, tuple(trainings)))


def _made_from(baseline: tf_keras.Model, task: Task, tflite: bytes) -> dict[str, Any]:
    """The checksums `reproduce` compares, and where the data came from."""
    return {
        "baseline": facts.weights_checksum(baseline),
        "data": task.fingerprint(),
        "source": task.source,
        "usage": Usage.of(task).to_dict(),
        "tflite_sha256": hashlib.sha256(tflite).hexdigest(),
        "environment": environment(),
    }
