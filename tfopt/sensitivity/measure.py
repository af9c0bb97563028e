"""How sensitive a model is to a technique, layer by layer."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from tfopt import cache as disk
from tfopt import facts
from tfopt.data import Arrays, ArraySplit
from tfopt.errors import SettingError
from tfopt.fine_tuning import AnyModel
from tfopt.fingerprints import fingerprint
from tfopt.keras_gate import clone, load_model, tf_keras
from tfopt.progress import bar
from tfopt.sensitivity import kept
from tfopt.sensitivity.bench import Bench
from tfopt.sensitivity.probes import Probe
from tfopt.sensitivity.records import Curve, Point, Sensitivity
from tfopt.task.base import check_task
from tfopt.technique import Technique

if TYPE_CHECKING:
    from tfopt.task import Task

STRENGTHS = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
SAMPLES = 2000
FOR_ALLOCATION = 512
"""Samples that tell the errors of the outputs: a metric needs more."""


@runtime_checkable
class Probing(Protocol):
    """A technique that can say what it does to one layer alone."""

    probed: ClassVar[tuple[str, ...]]
    """The settings that the probes depend on."""

    def judged_on(self, task: Task) -> str | None:
        """Returns a checksum of what the probes read of a task, None if it is nothing."""

    def probes(
        self, model: tf_keras.Model, *, task: Task | None = None, inputs: Arrays | None = None
    ) -> list[Probe]:
        """Returns the layers of a model that the technique may change, each with how.

        Args:
            model: A functional model; the probes change its weights.
            task: Samples with labels, where what is changed is judged by them.
            inputs: Samples without, likewise.
        """


def measure_sensitivity(
    model: AnyModel,
    technique: Technique,
    *,
    task: Task,
    strengths: Sequence[float] = STRENGTHS,
    samples: int = SAMPLES,
    cache: str | os.PathLike[str] | None = None,
) -> Sensitivity:
    """Measures what a technique costs, done to one layer at a time and to several extents.

    Nothing is trained: what counts is how layers compare. `allocation="sensitivity"` spreads an aim
    over the layers by it.

    Args:
        model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
        technique: A `MagnitudePruning`, `ChannelPruning`, `LowRank` or `RoundWeights`. Its settings
            say which layers, and how they are changed; its aim does not matter.
        task: The metric, on the first validation samples.
        strengths: Shares of a layer's weights, channels, operations or bits that go, above 0 and
            rising. Of 8 bits, 0.25 leaves 6, 0.5 leaves 4, and 0.75 the fewest: 2.
        samples: How many validation samples.
        cache: A directory that keeps what was measured, for the same weights, samples and settings;
            None: the one the environment variable `TFOPT_CACHE` names, or nothing is kept.

    Raises:
        SettingError: The technique changes no layer by itself, or a setting is out of its range.
        TechniqueError: The technique cannot work on this model.
        DataError: The data does not fit the model.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import dense_net
        >>> sensitivity = measure_sensitivity(dense_net(), tfopt.MagnitudePruning(),
        ...                                   task=tfopt.Task.digits(), strengths=(0.5, 0.9))
        >>> [curve.name for curve in sensitivity.curves]
        ['hidden (kernel)', 'probabilities (kernel)']

    References:
        Li et al., Pruning Filters for Efficient ConvNets, 2017, section 3.2.
    """
    check_task(task)
    _check(strengths, samples)
    probing = _probing(technique)
    own = clone(load_model(model))
    task.check(own)
    x, y = next(iter(task.validation.batches(samples)))
    folder = disk.directory(cache)
    name = _key(own, probing, ArraySplit(x, y), strengths, task) if folder else ""
    known = kept.load(folder, name)
    if known is None:
        bench = Bench(own, x, y=y, task=task)
        known = _measured(bench, technique.name, probing.probes(own, task=task), strengths)
        kept.store(folder, name, known)
    return known


def measured_on(model: tf_keras.Model, technique: Technique, inputs: Arrays) -> Sensitivity:
    """Measures on inputs without labels: the errors of the outputs alone.

    Args:
        model: A functional model; it is left as it was.
        technique: As for `measure_sensitivity`.
        inputs: Samples.
    """
    bench = Bench(clone(model), inputs)
    probes = _probing(technique).probes(bench.model, inputs=inputs)
    return _measured(bench, technique.name, probes, STRENGTHS)


def _measured(
    bench: Bench, change: str, probes: list[Probe], strengths: Sequence[float]
) -> Sensitivity:
    curves = tuple(
        Curve(probe.name, _points(bench, probe, strengths))
        for probe in bar(probes, "Measuring sensitivity", unit="layer")
    )
    return Sensitivity(change, curves, bench.samples, bench.metric_name, bench.metric)


def curves_for(
    model: tf_keras.Model,
    technique: Technique,
    *,
    task: Task | None = None,
    inputs: Arrays | None = None,
) -> tuple[Curve, ...]:
    """Returns the curves a technique spreads its aim by, on validation data or on inputs.

    Raises:
        SettingError: There is neither.
    """
    if task is not None:
        return measure_sensitivity(model, technique, task=task, samples=FOR_ALLOCATION).curves
    if inputs is None:
        raise SettingError(
            received="allocation='sensitivity' for wrap without representative inputs",
            expected="samples to measure the layers' sensitivity on",
            fix="pass representative=, or use apply or tfopt.optimize",
        )
    return measured_on(model, technique, inputs).curves


def _points(bench: Bench, probe: Probe, strengths: Sequence[float]) -> tuple[Point, ...]:
    """A layer at each strength that saves more than the one before."""
    points: list[Point] = []
    for strength in strengths:
        change = probe.change(strength)
        if change is not None and (not points or change.weights > points[-1].weights):
            error, metric = bench.measured([change])
            points.append(Point(strength, change.weights, change.macs, error, metric))
    return tuple(points)


def _key(
    model: tf_keras.Model,
    technique: Probing,
    data: ArraySplit,
    strengths: Sequence[float],
    task: Task,
) -> str:
    """What a measurement depends on."""
    config = {name: value for name, value in model.get_config().items() if name != "name"}
    return disk.key(
        model=config,
        weights=facts.weights_checksum(model),
        data=data.fingerprint(),
        functions=fingerprint([task.metric, task.loss]),
        technique=type(technique).__name__,
        settings={name: getattr(technique, name) for name in technique.probed},
        judged_on=technique.judged_on(task),
        strengths=list(strengths),
    )


def _probing(technique: Technique) -> Probing:
    """The technique, if it changes layers one by one."""
    if isinstance(technique, Probing):
        return technique
    raise SettingError(
        received=f"{technique!r}",
        expected="a technique that changes layers one by one: MagnitudePruning, ChannelPruning, "
        "LowRank or RoundWeights",
        fix="pass tfopt.MagnitudePruning()",
    )


def _check(strengths: Sequence[float], samples: int) -> None:
    """Refuses settings out of their range."""
    numbers = isinstance(strengths, list | tuple) and all(
        isinstance(strength, int | float) for strength in strengths
    )
    rising = numbers and all(a < b for a, b in itertools.pairwise(strengths))
    if not rising or not strengths or not (strengths[0] > 0 and strengths[-1] <= 1):
        raise SettingError(
            received=f"strengths={strengths!r}",
            expected="shares above 0 and at most 1, rising",
            fix="leave strengths out for the default",
        )
    if not isinstance(samples, int) or samples < 1:
        raise SettingError(
            received=f"samples={samples!r}",
            expected="a whole number, at least 1",
            fix="2,000 tell accuracies apart that differ by 2 points",
        )
