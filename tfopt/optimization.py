"""The main job: apply techniques in order, and measure after each."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfopt import facts
from tfopt.errors import LostGainError, SettingError
from tfopt.files import write_directory
from tfopt.keras_gate import clone, load_model, save_model
from tfopt.measure.cost import Latency, benchmark_interleaved
from tfopt.measure.quality import Quality, agreement, evaluate
from tfopt.recipe import FILE_NAME as RECIPE_FILE
from tfopt.recipe import Recipe
from tfopt.report import Budget, Report, Score, Step
from tfopt.target import Target
from tfopt.technique import Selection, Technique, check_order
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task

BASELINE_FILE = "baseline.h5"

_NOTHING = Selection(touched=(), skipped=())


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

    tflite: bytes
    model: tf_keras.Model
    report: Report
    recipe: Recipe
    baseline: tf_keras.Model

    def save(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes `model.tflite`, `report.json`, `report.md`, `recipe.json` and the baseline.

        Args:
            directory: Made if missing; all files appear in it at once, or none.
            overwrite: Replace a result the directory already holds.

        Returns:
            The directory.

        Raises:
            OutputExistsError: The directory is not empty and `overwrite` is not set.
        """
        with write_directory(directory, overwrite=overwrite) as new:
            (new / "model.tflite").write_bytes(self.tflite)
            report = json.dumps(self.report.to_dict(), indent=2) + "\n"
            (new / "report.json").write_text(report, encoding="utf-8")
            (new / "report.md").write_text(self.report.to_markdown(), encoding="utf-8")
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
    target is float32: what conversion alone does), and each technique's file for the target.

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
        SettingError: `techniques` is no list of techniques, or their order cannot work.
        TechniqueError: A technique cannot work on this model or missed its aim.
        LostGainError: A step undid what an earlier one had gained.
        ConversionError: The converter failed, or the file is not what the target asks for.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> result = tfopt.optimize(small_cnn(), [], task=tfopt.Task.digits(),
        ...                         target=tfopt.Target.int8())
        >>> [step.numerics for step in result.report.steps]
        ['float32', 'int8']
        >>> tfopt.inspect(result.tflite).integer_only
        True
    """
    _check_techniques(techniques)
    baseline = load_model(model)
    task.check(baseline)
    for technique in techniques:
        technique.select(baseline)  # refuses in seconds what would fail after minutes

    rows = _Rows(task, baseline)
    rows.measure("baseline", baseline, Target.float32())
    current = baseline
    if target.numerics != "float32" or not techniques:
        rows.measure("conversion only", baseline, target)
    for technique in techniques:
        current, selection = _apply(technique, current, task)
        rows.measure(technique.name, current, target, selection, technique.settings)

    report = rows.report(target)
    tflite = rows.files[-1]
    recipe = Recipe(
        techniques=tuple(techniques),
        target=target,
        seed=task.seed,
        made_from=_made_from(baseline, task, tflite),
    )
    return Result(tflite, current, report, recipe, baseline)


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


def _apply(
    technique: Technique, model: tf_keras.Model, task: Task
) -> tuple[tf_keras.Model, Selection]:
    """Applies one technique and proves that what earlier steps gained still holds."""
    selection = technique.select(model)
    before = facts.measure(model)
    optimized = technique.apply(model, task)
    lost = facts.lost_gains(before, facts.measure(optimized))
    if lost:
        raise LostGainError(
            received=f"a model that lost what earlier steps gained: {'; '.join(lost)}",
            expected=f"{technique.name} to keep the sparsity and the clusters it finds",
            fix="put the step before the one whose gain it undid, or skip the layers named",
        )
    return optimized, selection


@dataclasses.dataclass
class _Row:
    """What is known of a step before the latencies are measured together."""

    name: str
    tflite: bytes
    target: Target
    quality: Quality
    seconds: float
    selection: Selection
    settings: str


class _Rows:
    """Converts and measures each step; the latencies of all of them in turns, at the end."""

    def __init__(self, task: Task, baseline: tf_keras.Model) -> None:
        self._task, self._baseline = task, baseline
        self._rows: list[_Row] = []
        self._clock = time.perf_counter()

    @property
    def files(self) -> list[bytes]:
        """The `.tflite` of each step."""
        return [row.tflite for row in self._rows]

    def measure(
        self,
        name: str,
        model: tf_keras.Model,
        target: Target,
        selection: Selection = _NOTHING,
        settings: str = "",
    ) -> None:
        """Adds a row: the model as a file for the target, its metric on the validation data."""
        tflite = convert(model, task=self._task, target=target)
        quality = evaluate(tflite, task=self._task, split="validation")
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        self._rows.append(_Row(name, tflite, target, quality, seconds, selection, settings))

    def report(self, target: Target) -> Report:
        """Measures latencies and the test set, and judges the budgets."""
        latencies = benchmark_interleaved(self.files)
        tests = {}
        if self._task.test is not None:
            for index in (0, len(self._rows) - 1):
                tflite = self._rows[index].tflite
                tests[index] = _score(evaluate(tflite, task=self._task, split="test"))
        steps = tuple(
            self._step(row, latency, tests.get(index))
            for index, (row, latency) in enumerate(zip(self._rows, latencies, strict=True))
        )
        higher_is_better = self._rows[0].quality.higher_is_better
        return Report(
            metric=self._rows[0].quality.metric,
            higher_is_better=higher_is_better,
            steps=steps,
            budgets=_budgets(target, steps, higher_is_better),
            environment=_environment(),
        )

    def _step(self, row: _Row, latency: Latency, test: Score | None) -> Step:
        """A finished row of the report."""
        inspection = inspect(row.tflite)
        return Step(
            name=row.name,
            numerics=row.target.numerics,
            validation=_score(row.quality),
            test=test,
            agreement=agreement(row.quality.outputs, self._rows[0].quality.outputs),
            bytes=inspection.bytes,
            deflated_bytes=inspection.deflated_bytes,
            latency_ms=latency.median_ms,
            latency_p10_ms=latency.p10_ms,
            latency_p90_ms=latency.p90_ms,
            macs=inspection.macs,
            parameters=inspection.parameters,
            sparsity=inspection.sparsity,
            unique_weights=inspection.unique_weights,
            seconds=row.seconds,
            settings=row.settings,
            touched=row.selection.touched,
            skipped=row.selection.skipped,
            warnings=tuple(map(str, inspection.float_ops)) if row.target.integer_only else (),
        )


def _score(quality: Quality) -> Score:
    """A quality as the report keeps it: without the outputs."""
    return Score(quality.value, quality.low, quality.high, quality.samples)


def _budgets(
    target: Target, steps: Sequence[Step], higher_is_better: bool
) -> tuple[Budget, ...]:
    """Each budget of the target against the last row."""
    baseline, last = steps[0], steps[-1]
    spent = []
    if target.max_accuracy_drop is not None:
        split = "validation" if last.test is None else "test"
        before = baseline.validation if baseline.test is None else baseline.test
        after = last.validation if last.test is None else last.test
        drop = (before.value - after.value) * (1 if higher_is_better else -1)
        told = f"{drop:+.4f} on {after.samples:,} {split} samples"
        spent.append(Budget("max_accuracy_drop", target.max_accuracy_drop, drop, told))
    if target.max_bytes is not None:
        told = f"{last.bytes:,} bytes"
        spent.append(Budget("max_bytes", target.max_bytes, last.bytes, told))
    if target.max_latency_ms is not None:
        told = f"{last.latency_ms:.3g} ms on one thread of this machine"
        spent.append(Budget("max_latency_ms", target.max_latency_ms, last.latency_ms, told))
    return tuple(spent)


def _environment() -> dict[str, str]:
    """Versions and machine, for whoever reads the figures later."""
    packages = ("tfopt", "tensorflow", "tf-keras", "tensorflow-model-optimization")
    versions = {
        name: importlib.metadata.version(name) for name in (*packages, "ai-edge-litert", "numpy")
    }
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return {**versions, "python": platform.python_version(), "machine": machine}


def _made_from(baseline: tf_keras.Model, task: Task, tflite: bytes) -> dict[str, Any]:
    """The checksums `reproduce` compares, and where the data came from."""
    return {
        "baseline": weights_checksum(baseline),
        "data": task.fingerprint(),
        "source": task.source,
        "tflite_sha256": hashlib.sha256(tflite).hexdigest(),
        "environment": _environment(),
    }


def weights_checksum(model: tf_keras.Model) -> str:
    """SHA-256 over the weights of a model, in order."""
    digest = hashlib.sha256()
    for variable in model.weights:
        value = variable.numpy()
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
