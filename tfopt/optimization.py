"""The main job: apply techniques in order, and measure after each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfopt import facts
from tfopt.chain import Chain
from tfopt.files import write_directory
from tfopt.keras_gate import save_model
from tfopt.measure.paired import drop
from tfopt.measurement import Done, environment
from tfopt.post_training.choice import Refined, can_refine, refine
from tfopt.post_training.precision import can_mix
from tfopt.recipe import FILE_NAME as RECIPE_FILE
from tfopt.recipe import Recipe
from tfopt.report import LayerSensitivity, Report, Trial
from tfopt.reporting.card import model_card
from tfopt.reporting.html import page
from tfopt.reporting.saved import CARD_FILE, MODEL_FILE, PAGE_FILE, REPORT_FILE
from tfopt.target import Target
from tfopt.technique import Stage, Technique
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
    cache: str | os.PathLike[str] | None = None,
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
        cache: A directory that keeps the model after each step: what was stopped goes on there.
            None: the one the environment variable `TFOPT_CACHE` names, or nothing is kept.

    Returns:
        The file, the model, the report and the recipe.

    Warns:
        RestoredWarning: A step was found in the cache, with the same model, data and settings.

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
    chain = Chain(model, techniques, task=task, target=target, cache=cache)
    current, applied = chain.baseline, []
    for technique in techniques:
        made = chain.apply(technique, current)
        current = made.model
        applied.append(made.technique)
        chain.measure(technique.name, made)
    trials: tuple[Trial, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()
    refined = _refined(current, techniques, task, chain)
    if refined is not None:
        current, trials, sensitivity = refined.best.model, refined.trials, refined.sensitivity
        if refined.is_changed:
            way = f"{refined.name}: the best of {refined.files} files"
            chain.rows.add_measured("post-training", refined.best, Done(settings=way))
    chain.encode()
    report = chain.rows.report(target, trials=trials, sensitivity=sensitivity)
    tflite = chain.rows.files[-1]
    recipe = Recipe(
        techniques=tuple(applied),
        target=target,
        seed=task.seed,
        made_from=_made_from(chain.baseline, task, tflite),
    )
    return Result(tflite, current, report, recipe, chain.baseline)


def _refined(
    model: tf_keras.Model, techniques: Sequence[Technique], task: Task, chain: Chain
) -> Refined | None:
    """What can be done without training; None if there is nothing to try."""
    target, known = chain.target_of(model), chain.rows.measured
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
