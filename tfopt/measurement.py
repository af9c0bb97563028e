"""Converts and measures the model of each step, and makes the report of it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import time
import warnings
from typing import TYPE_CHECKING

from tfopt.measure.cost import Latency, benchmark_interleaved
from tfopt.measure.paired import difference, drop
from tfopt.measure.quality import Quality, agreement, evaluate
from tfopt.report import Budget, Difference, LayerSensitivity, Report, Score, Step, Trial
from tfopt.target import Target
from tfopt.technique import Selection
from tfopt.tflite.convert import FloatOpsWarning, convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.likeness import InexactFileWarning

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task

_NOTHING = Selection(touched=(), skipped=())
_OF_THE_FILE = (FloatOpsWarning, InexactFileWarning)


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
    warnings: tuple[str, ...]


class Measurements:
    """Converts and measures each step; the latencies of all of them in turns, at the end."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._rows: list[_Row] = []
        self._clock = time.perf_counter()

    @property
    def files(self) -> list[bytes]:
        """The `.tflite` of each step."""
        return [row.tflite for row in self._rows]

    @property
    def baseline(self) -> Quality:
        """The metric of the first row."""
        return self._rows[0].quality

    def add(
        self,
        name: str,
        model: tf_keras.Model,
        target: Target,
        selection: Selection = _NOTHING,
        settings: str = "",
    ) -> None:
        """Adds a row: the model as a file for the target, its metric on the validation data."""
        tflite, told = converted(model, self._task, target)
        for warning in told:
            if isinstance(warning, FloatOpsWarning):  # of the others, later steps may take care
                warnings.warn(warning, stacklevel=3)
        self.add_file(name, tflite, target, selection, settings, tuple(map(str, told)))

    def add_file(
        self,
        name: str,
        tflite: bytes,
        target: Target,
        selection: Selection = _NOTHING,
        settings: str = "",
        told: tuple[str, ...] = (),
    ) -> None:
        """Adds a row for a file that is made already."""
        quality = evaluate(tflite, task=self._task, split="validation")
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        self._rows.append(_Row(name, tflite, target, quality, seconds, selection, settings, told))

    def report(
        self,
        target: Target,
        *,
        trials: tuple[Trial, ...] = (),
        sensitivity: tuple[LayerSensitivity, ...] = (),
    ) -> Report:
        """Measures latencies and the test set, and judges the budgets."""
        latencies = benchmark_interleaved(self.files)
        tests: dict[int, Quality] = {}
        if self._task.test is not None:
            for index in (0, len(self._rows) - 1):
                tflite = self._rows[index].tflite
                tests[index] = evaluate(tflite, task=self._task, split="test")
        steps = tuple(
            self._step(row, latency, _score(tests[index]) if index in tests else None)
            for index, (row, latency) in enumerate(zip(self._rows, latencies, strict=True))
        )
        ends = list(tests.values()) or [self._rows[0].quality, self._rows[-1].quality]
        return Report(
            metric=self._rows[0].quality.metric,
            higher_is_better=self._rows[0].quality.higher_is_better,
            steps=steps,
            budgets=_budgets(target, steps[-1], drop(ends[-1], ends[0], seed=self._task.seed)),
            environment=environment(),
            trials=trials,
            sensitivity=sensitivity,
        )

    def _step(self, row: _Row, latency: Latency, test: Score | None) -> Step:
        """A finished row of the report."""
        inspection = inspect(row.tflite)
        baseline = self._rows[0].quality
        against = None if row is self._rows[0] else difference(row.quality, baseline)
        return Step(
            name=row.name,
            numerics=row.target.numerics,
            validation=_score(row.quality),
            test=test,
            agreement=agreement(row.quality.outputs, baseline.outputs),
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
            warnings=row.warnings,
            difference=against,
        )


def converted(
    model: tf_keras.Model, task: Task, target: Target
) -> tuple[bytes, tuple[Warning, ...]]:
    """Returns the plain conversion of a model, and what it warned of in the file.

    Args:
        model: A tf_keras model.
        task: Gives the samples to calibrate with.
        target: What the file is made for.
    """
    with warnings.catch_warnings(record=True) as caught:
        for category in _OF_THE_FILE:
            warnings.simplefilter("always", category)
        tflite = convert(model, task=task, target=target)
    for warning in caught:
        if not issubclass(warning.category, _OF_THE_FILE):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    told = (w.message for w in caught if isinstance(w.message, _OF_THE_FILE))
    return tflite, tuple(told)


def _score(quality: Quality) -> Score:
    """A quality as the report keeps it: without the outputs."""
    return Score(quality.value, quality.low, quality.high, quality.samples)


def _budgets(target: Target, last: Step, lost: Difference) -> tuple[Budget, ...]:
    """Each budget of the target against the last row."""
    spent = []
    if target.max_accuracy_drop is not None:
        split, score = ("test", last.test) if last.test else ("validation", last.validation)
        told = f"{lost} on {score.samples:,} {split} samples"
        spent.append(Budget("max_accuracy_drop", target.max_accuracy_drop, lost.value, told))
    if target.max_bytes is not None:
        told = f"{last.bytes:,} bytes"
        spent.append(Budget("max_bytes", target.max_bytes, last.bytes, told))
    if target.max_latency_ms is not None:
        told = f"{last.latency_ms:.3g} ms on one thread of this machine"
        spent.append(Budget("max_latency_ms", target.max_latency_ms, last.latency_ms, told))
    return tuple(spent)


def environment() -> dict[str, str]:
    """Versions and machine, for whoever reads the figures later."""
    packages = ("tfopt", "tensorflow", "tf-keras", "tensorflow-model-optimization")
    versions = {
        name: importlib.metadata.version(name) for name in (*packages, "ai-edge-litert", "numpy")
    }
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return {**versions, "python": platform.python_version(), "machine": machine}
