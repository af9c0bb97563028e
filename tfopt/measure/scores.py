"""A task's metric over batches: its value and how sure it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tfopt.data import ArraySplit, Split, leaves
from tfopt.errors import DataError, SettingError
from tfopt.measure.intervals import bootstrap, wilson
from tfopt.measure.metrics import Metric
from tfopt.task.fit import loss_name

Kind = Literal["classes", "values"]
Statistic = Callable[["np.ndarray | slice"], float]
"""The metric of any choice of samples, by their positions."""

_OF_NUMBERS = {
    "huber",
    "huber_loss",
    "log_cosh",
    "logcosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
}


@dataclasses.dataclass(frozen=True)
class Scored:
    """A metric over all samples.

    Args:
        value: The metric.
        low: Lower end of its 95 % confidence interval.
        high: Upper end of it.
        statistic: The metric of a choice of the samples.
        right: Whether each sample is right, (samples,), where the metric is the share of those.
    """

    value: float
    low: float
    high: float
    statistic: Statistic
    right: np.ndarray | None = None


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
        function: Gets arrays, or lists of them if the model has several outputs.
    """

    higher_is_better = True
    kind: Kind | None = None

    def __init__(self, function: Callable[..., float]) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
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
            return float(self._function(y_true, y_pred))

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


def check_classes(samples: Split, loss: Any, metric: str) -> None:
    """Refuses a metric of classes where loss and labels are of numbers, as in a regression.

    Args:
        samples: What is to be measured. Of a stream, the first ones are looked at.
        loss: The task's loss. One of numbers can teach classes too: 0 and 1, or shares of 1.
        metric: The name of the metric.

    Raises:
        SettingError: They are.
    """
    labels = samples.y if isinstance(samples, ArraySplit) else samples.first()[1]
    for name, array in leaves(labels):
        kind = loss_name(loss.get(name) if isinstance(loss, dict) else loss)
        if kind in _OF_NUMBERS and not _are_classes(array):
            raise SettingError(
                received=f"metric={metric!r} with the loss {kind} and labels from {array.min():g} "
                f"to {array.max():g}",
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


def _threshold(loss: Any) -> float:
    """Where a single output turns into yes: a logit's 0 or a probability's 0.5."""
    parts = list(loss.values()) if isinstance(loss, dict) else loss
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    return 0.0 if any(getattr(part, "from_logits", False) for part in parts) else 0.5
