"""Trying a way of making a file: what it does to the model's outputs, on the validation data."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfopt import facts, report
from tfopt.data import ArraySplit
from tfopt.errors import LostGainError, TechniqueError, TfoptError
from tfopt.keras2.copying import first_line
from tfopt.keras_gate import tf_keras
from tfopt.measure.paired import drop
from tfopt.measure.quality import Quality
from tfopt.measurement import Measured, measured
from tfopt.target import Target
from tfopt.technique import Technique

if TYPE_CHECKING:
    from tfopt.task import Task

AS_IT_IS = "as it is"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial(Measured):
    """A file, what it is worth, and what was done for it.

    Args:
        techniques: What was done to the model.
        error: Mean squared difference of the outputs from the float model's, as a share of their
            variance.
        seconds: How long it took.
    """

    techniques: tuple[Technique, ...]
    error: float
    seconds: float

    @property
    def name(self) -> str:
        """The techniques and the layers kept in other numbers, in words."""
        parts = [_told(technique) for technique in self.techniques]
        for numbers in ("float", "int16", "int8"):
            layers = getattr(self.target, f"keep_{numbers}")
            parts += [f"{', '.join(layers)} in {numbers}"] if len(layers) == 1 else []
            parts += [f"{len(layers)} layers in {numbers}"] if len(layers) > 1 else []
        return " + ".join(parts) or AS_IT_IS

    def record(self, *, chosen: bool) -> report.Trial:
        """The trial as the report keeps it."""
        quality = self.quality
        score = report.Score(quality.value, quality.low, quality.high, quality.samples)
        return report.Trial(
            self.name, score, self.error, len(self.tflite), self.seconds, chosen=chosen
        )


class Bench:
    """Makes and measures files of one model against its float outputs.

    Args:
        model: A tf_keras model; it is left as it was.
        task: The data. Only its training and validation parts are used.
        known: What is measured already, with the same data: the model's own are not made again.
        baseline: What drops are counted from; None for the float model itself.
    """

    def __init__(
        self,
        model: tf_keras.Model,
        task: Task,
        *,
        known: Sequence[Measured] = (),
        baseline: Quality | None = None,
    ) -> None:
        self.model, self.task, self._baseline = model, task, baseline
        self._models: dict[tuple[Technique, ...], tf_keras.Model] = {(): model}
        self._facts: dict[tuple[Technique, ...], facts.ModelFacts] = {}
        self._known = known

    @functools.cached_property
    def reference(self) -> Quality:
        """The float model on the validation data."""
        return self._measured(self.model, Target.float32()).quality

    def trial(self, techniques: Sequence[Technique], target: Target) -> Trial:
        """Makes a file and measures it.

        Args:
            techniques: Applied in order; what several trials begin with is done once.
            target: What the file is made for.

        Raises:
            TfoptError: A technique or the converter refuses the model.
            LostGainError: The techniques undo what the model had gained before.
        """
        start = time.perf_counter()
        model = self._applied(tuple(techniques))
        lost = facts.lost_gains(self._gains(()), self._gains(tuple(techniques)))
        if lost:
            raise LostGainError(
                received=f"a model that lost what earlier steps gained: {'; '.join(lost)}",
                expected="its sparsity and its clusters to be kept",
                fix="pass refine=False to the target to convert the model as it is",
            )
        found = self._measured(model, target)
        return Trial(
            **vars(found),
            techniques=tuple(techniques),
            error=output_error(found.quality, self.reference),
            seconds=time.perf_counter() - start,
        )

    def smaller(self, samples: int) -> Bench:
        """Returns a bench with fewer validation samples: enough for the error of the outputs.

        What this one has applied to the model, it need not apply again.

        Args:
            samples: How many.
        """
        x, y = next(iter(self.task.validation.batches(samples)))
        task = dataclasses.replace(self.task, validation=ArraySplit(x, y), test=None)
        twin = Bench(self.model, task)
        twin._models, twin._facts = dict(self._models), dict(self._facts)
        return twin

    def drop(self, trial: Trial) -> report.Difference:
        """How much of the baseline's metric a file has lost; above 0 is worse."""
        return drop(trial.quality, self._baseline or self.reference, seed=self.task.seed)

    def keeps_budget(self, trial: Trial) -> bool:
        """Whether a file keeps the `max_accuracy_drop` of its target, if that has one."""
        limit = trial.target.max_accuracy_drop
        return limit is None or self.drop(trial).value <= limit

    def _measured(self, model: tf_keras.Model, target: Target) -> Measured:
        """The file of a model, made unless it is known."""
        for found in self._known:
            if found.model is model and found.target == target:
                return found
        return measured(model, self.task, target)  # not kept: outputs can be large

    def _gains(self, techniques: tuple[Technique, ...]) -> facts.ModelFacts:
        """What the model holds with techniques applied, measured once."""
        if techniques not in self._facts:
            self._facts[techniques] = facts.measure(self._applied(techniques))
        return self._facts[techniques]

    def _applied(self, techniques: tuple[Technique, ...]) -> tf_keras.Model:
        """The model with techniques applied, each beginning made once."""
        if techniques not in self._models:
            before, last = self._applied(techniques[:-1]), techniques[-1]
            try:
                self._models[techniques] = last.apply(before, self.task)
            except TfoptError:
                raise
            except Exception as error:  # TensorFlow's own, out of memory say: other ways are left
                raise TechniqueError(
                    received=f"model {before.name!r}, on which {last.name} fails with "
                    f"{type(error).__name__}: {first_line(error)}",
                    expected="a model and data that it works on",
                    fix="look at the error above, or leave the technique out",
                ) from error
        return self._models[techniques]


def output_error(quality: Quality, reference: Quality) -> float:
    """Returns the mean squared difference of outputs as a share of the reference's variance.

    Unlike the metric it tells two files apart that decide alike, and needs few samples for it.

    Args:
        quality: Of one model.
        reference: Of the other, on the same samples.

    Returns:
        0 if the outputs are equal; several outputs are averaged.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> quality = tfopt.evaluate(small_cnn(), task=tfopt.Task.digits())
        >>> output_error(quality, quality)
        0.0
    """
    shares = []
    for output, exact in zip(quality.outputs, reference.outputs, strict=True):
        exact = exact.astype(np.float64)
        variance = np.square(exact - exact.mean(axis=0)).mean()
        error = np.square(output - exact).mean()
        shares.append(error / variance if variance else float(error > 0))
    return float(np.mean(shares))


def _told(technique: Technique) -> str:
    """A technique's name, with the method where it has several."""
    method = getattr(technique, "method", None)
    return f"{technique.name} ({method})" if method else technique.name
