"""Whether labels stand for classes, as a metric of classes takes them to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt.data import ArraySplit, Split, matched
from tfopt.errors import SettingError
from tfopt.measure.scores import AnyScore, PerOutput
from tfopt.task.losses import each, loss_name, of_numbers


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
    labels, losses = matched(given, outputs), each(loss, outputs)
    whole = dict.fromkeys(range(len(labels)), score)
    for output, part in (score.parts if isinstance(score, PerOutput) else whole).items():
        if part.kind == "classes":
            _refuse_numbers(labels[output], losses[output], part.name)


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
