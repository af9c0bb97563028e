"""A task's metric over batches: its value and how sure it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tfopt.data import ArraySplit, Split, matched
from tfopt.errors import DataError, SettingError, nearest
from tfopt.measure import keras_metrics
from tfopt.measure.intervals import bootstrap, wilson
from tfopt.measure.metrics import Metric, find
from tfopt.report import OutputScore, Score
from tfopt.task.losses import each, loss_name, of_logits, of_numbers

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
    if isinstance(metric, str) and (name := keras_metrics.class_name(metric)) is not None:
        metric = keras_metrics.by_name(name)
    if keras_metrics.is_metric(metric):
        return FunctionScore(keras_metrics.as_function(metric))
    if callable(metric):
        return FunctionScore(metric)
    return RowScore(find(metric), loss)


def check_metric(metric: Any) -> None:
    """Refuses a metric that is none, before anything is run.

    Raises:
        SettingError: It is none.

    Example:
        >>> check_metric("accuracy")
    """
    if isinstance(metric, (Mapping, tuple, list)):
        for one in metric.values() if isinstance(metric, Mapping) else metric:
            check_metric(one)
        return
    keras_metrics.refuse_class(metric)
    known = isinstance(metric, str) and keras_metrics.class_name(metric) is not None
    if not known and not keras_metrics.is_metric(metric) and not callable(metric):
        find(metric)


class RowScore:
    """A metric by name: each batch adds its rows, one a sample.

    Args:
        metric: The metric.
        loss: The task's loss, which tells whether single outputs are logits.
    """

    def __init__(self, metric: Metric, loss: Any) -> None:
        self.name, self.higher_is_better = metric.name, metric.higher_is_better
        self.kind: Kind | None = "classes" if metric.of_classes else "values"
        self._metric, self._threshold = metric, _threshold(loss)
        self._rows: list[list[np.ndarray]] = []

    def add(self, labels: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        """Takes in a batch, an array for each output of the model."""
        pairs = zip(labels, outputs, strict=True)
        self._rows.append([self._metric.rows(*pair, self._threshold) for pair in pairs])

    def result(self, samples: int, seed: int) -> Scored:
        """Returns the value and its interval.

        Raises:
            DataError: The metric has no value on these labels.
        """
        rows = [np.concatenate(column) for column in zip(*self._rows, strict=True)]

        def value(index: np.ndarray | slice) -> float:
            return float(np.mean([self._metric.reduce(row[index]) for row in rows]))

        whole = value(slice(None))
        if np.isnan(whole):
            raise DataError(
                received=f"labels on which {self.name} has no value",
                expected="labels of more than one class",
                fix="evaluate on more samples, or use another metric",
            )
        if len(rows) == 1 and rows[0].dtype == bool:
            right = rows[0].reshape(-1)
            return Scored(whole, *wilson(int(right.sum()), samples), value, right)
        return Scored(whole, *bootstrap(value, samples, seed=seed), value)


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

    def result(self, samples: int, seed: int) -> Scored:
        """Returns the value and its interval.

        Of 200 resamples, since a function can be slow.

        Raises:
            SettingError: The function fails.
        """
        sides = [
            [np.concatenate(column) for column in zip(*parts, strict=True)]
            for parts in (self._labels, self._outputs)
        ]

        def value(index: np.ndarray | slice) -> float:
            chosen = [[array[index] for array in side] for side in sides]
            y_true, y_pred = (side[0] if len(sides[1]) == 1 else side for side in chosen)
            return float(np.mean(np.asarray(self._function(y_true, y_pred))))

        try:
            whole = value(slice(None))
            interval = bootstrap(value, samples, seed=seed, resamples=200)
        except Exception as error:  # the user's own code: anything can come out of it
            raise SettingError(
                received=f"metric {self.name}, which raised {type(error).__name__}: {error}",
                expected="a function of (labels, outputs), arrays of (samples, ...), to a number",
                fix="try it on model.predict(x) and y",
            ) from error
        return Scored(whole, *interval, value)


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

    def check_classes(self, labels: Sequence[np.ndarray], loss: Any) -> None:
        """Refuses metrics of classes for labels that are none; see `check_classes`."""
        for index, part in self._parts.items():
            if part.kind == "classes":
                _refuse_numbers(labels[index], each(loss, self._names)[index], part.name)

    @property
    def first(self) -> int:
        """The number of the output that budgets judge."""
        return next(iter(self._parts))


AnyScore = RowScore | FunctionScore | PerOutput


def check_classes(score: AnyScore, samples: Split, loss: Any, outputs: Sequence[str]) -> None:
    """Refuses a metric of classes where loss and labels are of numbers, as in a regression.

    Args:
        score: What measures the metric.
        samples: What is to be measured. Of a stream, the first ones are looked at.
        loss: The task's loss. One of numbers can teach classes too: 0 and 1, or shares of 1.
        outputs: The names of the model's outputs, in order.

    Raises:
        SettingError: They are.
    """
    given = samples.y if isinstance(samples, ArraySplit) else samples.first()[1]
    labels = matched(given, outputs)
    if isinstance(score, PerOutput):
        score.check_classes(labels, loss)
    elif score.kind == "classes":
        for array, own in zip(labels, each(loss, outputs), strict=True):
            _refuse_numbers(array, own, score.name)


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


def _refuse_numbers(labels: np.ndarray, loss: Any, metric: str) -> None:
    """Refuses a metric of classes where loss and labels are of numbers, as in a regression.

    Args:
        labels: The labels of one output.
        loss: Its loss.
        metric: The metric's name.

    Raises:
        SettingError: They are.
    """
    if of_numbers(loss) and not _are_classes(labels):
        raise SettingError(
            received=f"metric={metric!r} with the loss {loss_name(loss)} and labels from "
            f"{labels.min():g} to {labels.max():g}",
            expected="a metric of numbers, since these labels are no classes",
            fix='pass metric="mae", "mse" or "rmse", or a function of (labels, outputs)',
        )


def _are_classes(labels: np.ndarray) -> bool:
    """Whether labels can be class numbers, 0 and 1, or shares of a whole."""
    if labels.dtype.kind in "iub":
        return True
    shares = labels.ndim > 1 and labels.shape[-1] > 1 and labels.min() >= 0
    whole = shares and np.allclose(labels.sum(axis=-1), 1, atol=1e-3)
    return bool(whole or np.isin(labels, (0, 1)).all())
