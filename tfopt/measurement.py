"""Converts and measures the model of each step, and makes the report of it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import time
import warnings
from typing import TYPE_CHECKING

from tfopt.errors import InterpreterError
from tfopt.measure.comparison import agreed, compare, divergence
from tfopt.measure.cost import Latency, benchmark_interleaved, ratio
from tfopt.measure.layer_figures import layer_figures
from tfopt.measure.paired import difference
from tfopt.measure.profile import profile
from tfopt.measure.quality import Quality, evaluate
from tfopt.report import (
    LayerFigures,
    LayerSensitivity,
    Profile,
    Report,
    Score,
    Step,
    Training,
    Trial,
)
from tfopt.report.budgets import judged
from tfopt.target import Target
from tfopt.technique import Selection
from tfopt.tflite.convert import FloatOpsWarning, converted
from tfopt.tflite.inspect import inspect

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task

_PROFILE_RUNS, _PROFILE_SECONDS = 50, 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A model as the file of a target, and what it is worth.

    Args:
        model: The model it was made from.
        target: What it was made for.
        tflite: Its content.
        quality: The metric on the validation data.
        warnings: What the conversion warned of.
    """

    model: tf_keras.Model
    target: Target
    tflite: bytes
    quality: Quality
    warnings: tuple[Warning, ...] = ()


@dataclasses.dataclass(frozen=True)
class Done:
    """What a step did to the model, for its row.

    Args:
        selection: Which layers it touched, and why not the others.
        settings: Its settings that are not defaults.
        trainings: How it trained, each time it did.
    """

    selection: Selection = dataclasses.field(default_factory=lambda: Selection((), ()))
    settings: str = ""
    trainings: tuple[Training, ...] = ()


_NOTHING = Done()


@dataclasses.dataclass
class _Row:
    """What is known of a step before the latencies are measured together."""

    name: str
    measured: Measured
    seconds: float
    done: Done
    step_before: int | None = None


class Measurements:
    """Converts and measures each step; the latencies of all of them in turns, at the end."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._rows: list[_Row] = []
        self._clock = time.perf_counter()

    @property
    def files(self) -> list[bytes]:
        """The `.tflite` of each step."""
        return [row.measured.tflite for row in self._rows]

    @property
    def measured(self) -> list[Measured]:
        """What was measured for each step."""
        return [row.measured for row in self._rows]

    def add(
        self,
        name: str,
        model: tf_keras.Model,
        target: Target,
        done: Done = _NOTHING,
        *,
        told: tuple[Warning, ...] = (),
        step_before: int | None = None,
    ) -> None:
        """Adds a row: the model as a file for the target, its metric on the validation data."""
        found = measured(model, self._task, target)
        for warning in found.warnings:
            if isinstance(warning, FloatOpsWarning):  # of the others, later steps may take care
                warnings.warn(warning, stacklevel=3)
        found = dataclasses.replace(found, warnings=(*found.warnings, *told))
        self.add_measured(name, found, done, step_before=step_before)

    def add_file(
        self,
        name: str,
        tflite: bytes,
        target: Target,
        done: Done = _NOTHING,
        *,
        told: tuple[str, ...] = (),
    ) -> None:
        """Adds a row for what was made of the last row's file, and measures it."""
        quality = evaluate(tflite, task=self._task, split="validation")
        last = self._rows[-1].measured
        found = dataclasses.replace(
            last,
            target=target,
            tflite=tflite,
            quality=quality,
            warnings=(*last.warnings, *map(UserWarning, told)),
        )
        self.add_measured(name, found, done)

    def add_measured(
        self, name: str, found: Measured, done: Done = _NOTHING, *, step_before: int | None = None
    ) -> None:
        """Adds a row for a file that is made and measured already."""
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        self._rows.append(_Row(name, found, seconds, done, step_before))

    def report(
        self,
        target: Target,
        *,
        trials: tuple[Trial, ...] = (),
        sensitivity: tuple[LayerSensitivity, ...] = (),
    ) -> Report:
        """Measures latencies, the test set and the last file's inside, and judges the budgets."""
        profiled, latencies = self._profile(), benchmark_interleaved(self.files)
        tests: dict[int, Quality] = {}
        if self._task.test is not None:
            for index in (0, len(self._rows) - 1):
                tflite = self.files[index]
                tests[index] = evaluate(tflite, task=self._task, split="test")
        steps = tuple(
            self._step(index, latencies, _score(tests[index]) if index in tests else None)
            for index in range(len(self._rows))
        )
        first, last = (self._rows[index].measured.quality for index in (0, -1))
        ends = list(tests.values()) or [first, last]
        compared = compare(ends[-1], ends[0], task=self._task)
        made = Report(
            metric=first.metric,
            higher_is_better=first.higher_is_better,
            steps=steps,
            environment=environment(),
            trials=trials,
            sensitivity=sensitivity,
            split=ends[0].split,
            difference=compared.difference,
            groups=compared.groups,
            mistakes=compared.mistakes,
            profile=profiled,
            layers=self._layers(),
        )
        return dataclasses.replace(made, budgets=judged(target, made))

    def _profile(self) -> Profile | None:
        """Where the last file's time goes; if that cannot be found out, it is a warning of it."""
        last = self._rows[-1]
        try:
            return profile(last.measured.tflite, runs=_PROFILE_RUNS, seconds=_PROFILE_SECONDS)
        except InterpreterError as error:  # some files run with one kind of kernels only
            told = (*last.measured.warnings, UserWarning(f"no profile: {error.received}"))
            last.measured = dataclasses.replace(last.measured, warnings=told)
            return None

    def _layers(self) -> tuple[LayerFigures, ...]:
        """What the Keras layers are in the last file; a float file loses nothing in them."""
        last = self._rows[-1].measured
        task = self._task if last.target.numerics != "float32" else None
        return layer_figures(last.tflite, last.model, task=task)

    def _step(self, index: int, latencies: list[Latency], test: Score | None) -> Step:
        """A finished row of the report."""
        row, latency, seed = self._rows[index], latencies[index], self._task.seed
        inspection = inspect(row.measured.tflite)
        quality, baseline = row.measured.quality, self._rows[0].measured.quality
        return Step(
            name=row.name,
            numerics=row.measured.target.numerics,
            validation=_score(quality),
            test=test,
            agreement=agreed(quality, baseline),
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
            settings=row.done.settings,
            touched=row.done.selection.touched,
            skipped=row.done.selection.skipped,
            warnings=tuple(map(str, row.measured.warnings)),
            difference=difference(quality, baseline, seed=seed) if index else None,
            kl=divergence(quality, baseline, task=self._task),
            latency_ratio=ratio(latency, latencies[0], seed=seed) if index else None,
            latencies_ms=latency.quantiles_ms,
            arena_bytes=inspection.arena_bytes,
            outputs=quality.parts,
            trainings=row.done.trainings,
            step_before=row.step_before,
        )


def measured(model: tf_keras.Model, task: Task, target: Target) -> Measured:
    """Makes the plain conversion of a model, and measures it on the validation data.

    Args:
        model: A tf_keras model; it is left as it was.
        task: Gives the samples to calibrate with, and the validation data.
        target: What the file is made for.

    Returns:
        The file, with what its conversion warned of in it.

    Raises:
        TfoptError: As `tflite.convert` does.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import dense_net
        >>> found = measured(dense_net(), tfopt.Task.digits(), tfopt.Target.float32())
        >>> found.quality.split, found.warnings
        ('validation', ())
    """
    tflite, told = converted(model, task=task, target=target)
    quality = evaluate(tflite, task=task, split="validation")
    return Measured(model=model, target=target, tflite=tflite, quality=quality, warnings=told)


def _score(quality: Quality) -> Score:
    """A quality as the report keeps it: without the outputs."""
    return Score(quality.value, quality.low, quality.high, quality.samples)


def environment() -> dict[str, str]:
    """Versions and machine, for whoever reads the figures later."""
    packages = ("tfopt", "tensorflow", "tf-keras", "tensorflow-model-optimization")
    versions = {
        name: importlib.metadata.version(name) for name in (*packages, "ai-edge-litert", "numpy")
    }
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return {**versions, "python": platform.python_version(), "machine": machine}
