"""Metrics of Keras, by name or as objects, as functions of all labels and outputs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tfopt.errors import SettingError

# Those of Keras 2 that give a number from labels and outputs alone.
NAMES = (
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "MeanAbsolutePercentageError",
    "MeanSquaredLogarithmicError",
    "OneHotMeanIoU",
    "Poisson",
    "Precision",
    "R2Score",
    "Recall",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "TrueNegatives",
    "TruePositives",
)
_ERRORS = re.compile(
    "error|loss|crossentropy|hinge|divergence|poisson|^false|huber|^(mae|mse|rmse|mape|msle)$"
)


def is_metric(value: Any) -> bool:
    """Whether a value is a metric object, of tf_keras or Keras 3."""
    return all(hasattr(value, name) for name in ("update_state", "result", "name")) and not (
        isinstance(value, type)
    )


def class_name(name: Any) -> str | None:
    """Returns the class of a metric that Keras knows by a name; None if it knows none.

    What is no string is no name.

    Example:
        >>> class_name("f1_score"), class_name("Precision"), class_name("acuracy")
        ('F1Score', 'Precision', None)
    """
    if not isinstance(name, str):
        return None
    plain = name.replace("_", "").lower()
    return next((known for known in NAMES if known.lower() == plain), None)


def by_name(name: str) -> Any:
    """Returns the tf_keras metric of a name out of `NAMES`, with its default settings."""
    from tfopt.keras_gate import tf_keras

    return getattr(tf_keras.metrics, name)()


def as_function(metric: Any) -> Callable[[Any, Any], Any]:
    """Returns what a metric object computes, as a function of labels and outputs.

    Args:
        metric: An object with `reset_state`, `update_state` and `result`.
    """

    def function(labels: Any, outputs: Any) -> Any:
        metric.reset_state()
        metric.update_state(labels, outputs)
        return np.asarray(metric.result())

    function.__name__ = str(metric.name)
    function.higher_is_better = higher_is_better(metric)  # type: ignore[attr-defined]
    return function


def higher_is_better(metric: Any) -> bool:
    """Whether larger values are better: what a metric or function says, else what its name says.

    Args:
        metric: A metric object or a function; an attribute `higher_is_better` is believed.

    Example:
        >>> def mean_absolute_error(labels, outputs): ...
        >>> higher_is_better(mean_absolute_error), higher_is_better(max)
        (False, True)
    """
    said = getattr(metric, "higher_is_better", None)
    if said is not None:
        return bool(said)
    own = type(metric).__name__ if is_metric(metric) else getattr(metric, "__name__", "")
    return not _ERRORS.search(own.lower())


def refuse_class(metric: Any) -> None:
    """Refuses the class of a metric where a metric is asked for.

    Raises:
        SettingError: It is one.
    """
    if isinstance(metric, type) and hasattr(metric, "update_state"):
        raise SettingError(
            received=f"metric={metric.__name__}, a class",
            expected="a metric",
            fix=f"call it: {metric.__name__}()",
        )
