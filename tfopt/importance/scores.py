"""The kinds of importance by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from tfopt.data import ArraySplit, concatenate
from tfopt.errors import SettingError
from tfopt.graph.dependencies import Dependencies
from tfopt.importance.data import activations, labelled, taylor
from tfopt.importance.weights import batch_norm_scales, norms

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.task import Task

Importance = Literal["l1", "l2", "bn_scale", "taylor", "activation", "reconstruction"]
NEED_INPUTS = ("activation", "reconstruction")
NEED_LABELS = ("taylor",)

_NO_SCALE = "no batch norm scales its channels, by which importance='bn_scale' judges them"


def judged(found: Dependencies, importance: Importance) -> Dependencies:
    """Returns the same without the groups that a kind of importance cannot judge."""
    if importance != "bn_scale":
        return found
    scales = batch_norm_scales(found)
    unknown = [group for group in found.groups if np.isnan(scales[group.units]).any()]
    return found.left_whole(unknown, _NO_SCALE)


def judged_on(importance: Importance, task: Task, samples: int) -> str | None:
    """Returns a checksum of what `scores` reads of a task, None if it is nothing.

    Args:
        importance: How channels are judged.
        task: The task.
        samples: How many samples of it.
    """
    if importance in NEED_LABELS:
        x, y = (concatenate(side) for side in zip(*labelled(task, samples), strict=True))
        loss = task.loss.get_config() if hasattr(task.loss, "get_config") else task.loss
        return f"{ArraySplit(x, y).fingerprint()} {loss}"
    if importance in NEED_INPUTS:
        return ArraySplit.of_inputs(task.representative_inputs(samples)).fingerprint()
    return None


def scores(
    found: Dependencies,
    importance: Importance,
    *,
    inputs: Arrays | None,
    task: Task | None,
    samples: int,
) -> np.ndarray:
    """Scores the units of a model.

    Args:
        found: What goes together in it.
        importance: How channels are judged.
        inputs: Samples, for a kind of `NEED_INPUTS`.
        task: Labelled samples and a loss, for a kind of `NEED_LABELS`.
        samples: How many of the task.

    Returns:
        (units,), at least 0.

    Raises:
        SettingError: What the kind of importance needs is missing.
    """
    if importance == "bn_scale":
        return np.nan_to_num(batch_norm_scales(found))
    if importance in NEED_LABELS and task is not None:
        return taylor(found, labelled(task, samples), task.loss)
    if importance in NEED_INPUTS and inputs is not None:
        return activations(found, inputs, weighted=importance == "reconstruction")
    if importance in (*NEED_LABELS, *NEED_INPUTS):
        missing = "a task" if importance in NEED_LABELS else "inputs"
        raise SettingError(
            received=f"importance={importance!r} without {missing}",
            expected=f"{missing}, by which it judges channels",
            fix=f"pass {missing}, or importance='l2', which judges by the weights alone",
        )
    return norms(found, order=1 if importance == "l1" else 2)
