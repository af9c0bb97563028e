"""What a task's loss tells of its outputs and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt.errors import SettingError
from tfopt.task.fit import loss_name

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


def of_logits(loss: Any) -> bool:
    """Returns whether a loss says that the outputs are logits."""
    parts = list(loss.values()) if isinstance(loss, dict) else loss
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    return any(getattr(part, "from_logits", False) for part in parts)


def of_numbers(loss: Any) -> bool:
    """Returns whether a loss is one of numbers, as in a regression.

    Example:
        >>> of_numbers("mae"), of_numbers("categorical_crossentropy")
        (True, False)
    """
    return loss_name(loss) in _OF_NUMBERS


def each(loss: Any, outputs: Sequence[str]) -> list[Any]:
    """Returns the loss of each output.

    Args:
        loss: The task's loss; one for all outputs, or a dict or list of several.
        outputs: The names of the outputs, in order.

    Example:
        >>> each({"age": "mae"}, ["name", "age"])
        [None, 'mae']
    """
    if isinstance(loss, dict):
        return [loss.get(name) for name in outputs]
    if isinstance(loss, (list, tuple)) and len(loss) == len(outputs):
        return list(loss)
    return [loss] * len(outputs)


def refuse_numbers(labels: np.ndarray, loss: Any, metric: str) -> None:
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
