"""A task's metric over batches: its value and how sure it is."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tfopt.errors import DataError, SettingError, nearest
from tfopt.measure import keras_metrics
from tfopt.measure.intervals import bootstrap, wilson
from tfopt.measure.metrics import Metric, find
from tfopt.report import OutputScore, Score
from tfopt.task.losses import each, of_logits

Kind = Literal["classes", "values"]
Statistic = Callable[["np.ndarray | slice"], float]
"""The metric of any choice of samples, by their positions."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """A metric over all samples.

    Args:
        value: The metric.
        low: Lower end of its 95 % confidence interval.
        high: Upper end of it.
        statistic: The metric of a choice of the samples.
        right: Whether each sample is right, (samples,), where the metric is the share of those.
        parts: The metric of each output, where each has its own.
    """

    value: float
    low: float
    high: float
    statistic: Statistic
    right: np.ndarray | None = None
    parts: tuple[OutputScore, ...] = ()


def score_of(metric: Any, loss: Any, outputs: Sequence[str] = ("",)) -> AnyScore:
    """Returns what measures a task's metric.

    Args:
        metric: A name, a metric object of Keras, a function of (labels, outputs), or several of
            these: a dict by the names of outputs, or a tuple in their order.
        loss: The task's loss, which tells whether single outputs are logits.
        outputs: The names of the model's outputs, in order.

    Raises:
        SettingError: The metric is unknown, or named for an output that is not there.

    Example:
        >>> score_of("accuracy", "mse").name, score_of(max, "mse").name
        ('accuracy', 'max')
    """
    if isinstance(metric, (Mapping, tuple, list)):
        return PerOutput(_by_output(metric, outputs), loss, outputs)
    keras_metrics.refuse_class(metric)
    if (name := keras_metrics.class_name(metric)) is not None:
        metric = keras_metrics.by_name(name)
    if keras_metrics.is_metric(metric):
        return FunctionScore(keras_metrics.as_function(metric))
    if callable(metric):
        return FunctionScore(metric)
    return RowScore(find(metric), each(loss, outputs))


class RowScore:
    """A metric by name: each batch adds its rows, one a sample.

    Args:
        metric: The metric.
        losses: The loss of each output, which tells whether it is a logit where it is single.
    """

    def __init__(self, metric: Metric, losses: Sequence[Any]) -> None:
        self.name, self.higher_is_better = metric.name, metric.higher_is_better
        self.kind: Kind | None = "classes" if metric.of_classes else "values"
        self._metric, self._thresholds = metric, [_threshold(loss) for loss in losses]
        self._rows: list[list[np.ndarray]] = []

    def add(self, labels: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        """Takes in a batch, an array for each output of the model."""
        parts = zip(labels, outputs, self._thresholds, strict=True)
        self._rows.append([self._metric.rows(*part) for part in parts])

    def value(self) -> float:
        """Returns the value alone: an interval can take a thousand times as long.

        Raises:
            DataError: The metric has no value on these labels.
        """
        return self._checked(self._statistic(self._gathered()))

    def result(self, samples: int, seed: int) -> Scored:
        """Returns the value and its interval.

        Raises:
            DataError: The metric has no value on these labels.
        """
        rows = self._gathered()
        statistic = self._statistic(rows)
        whole = self._checked(statistic)
        if len(rows) == 1 and rows[0].dtype == bool:
            right = rows[0].reshape(-1)
            return Scored(whole, *wilson(int(right.sum()), samples), statistic, right)
        return Scored(whole, *bootstrap(statistic, samples, seed=seed), statistic)

    def _gathered(self) -> list[np.ndarray]:
        """The rows of each output."""
        return [np.concatenate(column) for column in zip(*self._rows, strict=True)]

    def _statistic(self, rows: list[np.ndarray]) -> Statistic:
        return lambda index: float(np.mean([self._metric.reduce(row[index]) for row in rows]))

    def _checked(self, statistic: Statistic) -> float:
        """The value on all samples."""
        whole = statistic(slice(None))
        if np.isnan(whole):
            raise DataError(
                received=f"labels on which {self.name} has no value",
                expected="labels of more than one class",
                fix="evaluate on more samples, or use another metric",
            )
        return whole


class FunctionScore:
    """A metric that is a function of all labels and all outputs.

    Args:
        function: Gets arrays, or lists of them if the model has several outputs. Of more than one
            number it returns, such as one a sample or a class, the mean counts.
    """

    kind: Kind | None = None

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self.higher_is_better = keras_metrics.higher_is_better(function)
        self._function = function
        self._labels: list[list[np.ndarray]] = []
        self._outputs: list[list[np.ndarray]] = []

    def add(self, labels: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        """Takes in a batch, an array for each output of the model."""
        self._labels.append(labels)
        self._outputs.append(outputs)

    def value(self) -> float:
        """Returns the value alone, of one call of the function.

        Raises:
            SettingError: The function fails.
        """
        with self._named():
            return self._statistic()(slice(None))

    def result(self, samples: int, seed: int) -> Scored:
        """Returns the value and its interval.

        Of 200 resamples, since a function can be slow.

        Raises:
            SettingError: The function fails.
        """
        statistic = self._statistic()
        with self._named():
            whole = statistic(slice(None))
            if not np.isfinite(whole):
                raise self._refusal(f"gave {whole} of {samples:,} samples")
            interval = bootstrap(statistic, samples, seed=seed, resamples=200)
        return Scored(whole, *interval, statistic)

    def _statistic(self) -> Statistic:
        sides = [
            [np.concatenate(column) for column in zip(*parts, strict=True)]
            for parts in (self._labels, self._outputs)
        ]

        def value(index: np.ndarray | slice) -> float:
            chosen = [[array[index] for array in side] for side in sides]
            y_true, y_pred = (side[0] if len(sides[1]) == 1 else side for side in chosen)
            found = np.asarray(self._function(y_true, y_pred))
            if found.ndim and len(found) != len(chosen[1][0]):
                raise self._refusal(
                    f"gave an array of shape {found.shape} of {len(chosen[1][0]):,} samples"
                )
            return float(np.mean(found))

        return value

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """What the function raises names it."""
        try:
            yield
        except SettingError:
            raise
        except Exception as error:  # the user's own code: anything can come out of it
            raise self._refusal(f"raised {type(error).__name__}: {error}") from error

    def _refusal(self, what: str) -> SettingError:
        return SettingError(
            received=f"metric {self.name}, which {what}",
            expected="a function of (labels, outputs), arrays of (samples, ...), to a number, or "
            "to one for each sample",
            fix="try it on model.predict(x) and y",
        )


class PerOutput:
    """A metric for each output; the first one named is what budgets judge.

    Args:
        metrics: The metrics by the outputs' names.
        loss: The task's loss.
        outputs: The names of the model's outputs, in order.
    """

    def __init__(self, metrics: Mapping[str, Any], loss: Any, outputs: Sequence[str]) -> None:
        losses = each(loss, outputs)
        self._parts = {
            outputs.index(name): score_of(metric, losses[outputs.index(name)])
            for name, metric in metrics.items()
        }
        self._names = list(outputs)
        first = next(iter(self._parts.values()))
        self.kind: Kind | None = first.kind
        self.higher_is_better: bool = first.higher_is_better
        self.name: str = f"{next(iter(metrics))} {first.name}"

    def add(self, labels: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        """Takes in a batch, an array for each output of the model."""
        for index, part in self._parts.items():
            part.add([labels[index]], [outputs[index]])

    def value(self) -> float:
        """Returns the value of the first alone.

        Raises:
            DataError: Its metric has no value on its labels.
        """
        return self._parts[self.first].value()

    def result(self, samples: int, seed: int) -> Scored:
        """Returns the value and the interval of the first, and those of all.

        Raises:
            DataError: A metric has no value on its labels.
        """
        scored = {index: part.result(samples, seed) for index, part in self._parts.items()}
        parts = tuple(
            OutputScore(
                self._names[index],
                self._parts[index].name,
                Score(one.value, one.low, one.high, samples),
            )
            for index, one in scored.items()
        )
        return dataclasses.replace(next(iter(scored.values())), parts=parts)

    @property
    def parts(self) -> Mapping[int, AnyScore]:
        """What measures each output's metric, by the number of the output."""
        return self._parts

    @property
    def first(self) -> int:
        """The number of the output that budgets judge."""
        return next(iter(self._parts))


AnyScore = RowScore | FunctionScore | PerOutput


def _by_output(metric: Any, outputs: Sequence[str]) -> Mapping[str, Any]:
    """The metrics by the outputs' names."""
    if not metric or (not isinstance(metric, Mapping) and len(metric) != len(outputs)):
        raise SettingError(
            received=f"{len(metric)} metric(s) for a model of {len(outputs)} output(s)",
            expected="one for each, in the order of the outputs",
            fix="pass a dict by the outputs' names to measure only some",
        )
    if not isinstance(metric, Mapping):
        return dict(zip(outputs, metric, strict=True))
    for name in metric:
        if name not in outputs:
            raise SettingError(
                received=f"a metric for the output {name!r}",
                expected=nearest(str(name), outputs),
                fix="name the outputs as the model does",
            )
    return metric


def _threshold(loss: Any) -> float:
    """Where a single output turns into yes: a logit's 0 or a probability's 0.5."""
    return 0.0 if of_logits(loss) else 0.5
