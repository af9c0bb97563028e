"""The samples that only an optimized model gets wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfopt.data import Split
from tfopt.measure.divergence import probabilities
from tfopt.measure.png import as_png
from tfopt.measure.quality import Quality
from tfopt.report import Mistake, Mistakes
from tfopt.task.groups import names_of
from tfopt.task.losses import each

if TYPE_CHECKING:
    from tfopt.task import Task

_SHOWN = 12


def mistakes(
    optimized: Quality, baseline: Quality, *, task: Task, most: int = _SHOWN
) -> Mistakes | None:
    """Counts the samples that only one of two models gets wrong, and shows those of the first.

    Args:
        optimized: Of the one, as `evaluate` gives it.
        baseline: Of the other, with the same task and split.
        task: Holds the samples, and names classes and groups.
        most: How many to show: those of which the optimized model is most sure.

    Returns:
        None if samples are not right or wrong.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> task = tfopt.Task.digits()
        >>> quality = tfopt.evaluate(small_cnn(), task=task)
        >>> mistakes(quality, quality, task=task).lost
        0
    """
    if optimized.right is None or baseline.right is None:
        return None
    lost = np.flatnonzero(baseline.right & ~optimized.right)
    won = int((~baseline.right & optimized.right).sum())
    return Mistakes(
        lost=len(lost),
        won=won,
        samples=optimized.samples,
        shown=_shown(lost, optimized, baseline, task, most),
    )


def _shown(
    lost: np.ndarray, optimized: Quality, baseline: Quality, task: Task, most: int
) -> tuple[Mistake, ...]:
    """The mistakes worth looking at."""
    if not len(lost) or optimized.classes is None or len(optimized.outputs) != 1:
        return ()
    ours, theirs = optimized.outputs[0], baseline.outputs[0]
    loss = each(task.loss, optimized.output_names)[0]
    if len(ours) != optimized.samples:  # large outputs are kept of some samples only
        return ()
    sure = probabilities(ours[lost], loss, like=theirs)
    was = probabilities(theirs[lost], loss, like=theirs)
    if sure is None or was is None:
        return ()
    chosen = np.sort(np.argsort(-sure.max(axis=-1), kind="stable")[:most])
    index = lost[chosen]
    split = task.split(optimized.split)  # type: ignore[arg-type]
    groups = names_of(task.groups, split, optimized.split)
    rows = [
        Mistake(
            index=int(place),
            label=task.class_name(optimized.classes[place]),
            baseline=task.class_name(was[i].argmax()),
            baseline_confidence=float(was[i].max()),
            optimized=task.class_name(sure[i].argmax()),
            optimized_confidence=float(sure[i].max()),
            png=png,
            group=", ".join(str(names[place]) for names in groups.values()),
        )
        for place, i, png in zip(index, chosen, _images(split, index), strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: -row.optimized_confidence))


def _images(split: Split, positions: np.ndarray) -> list[str]:
    """The samples as images, empty where they are none."""
    inputs = split.take(positions)
    if not isinstance(inputs, np.ndarray):
        return [""] * len(positions)
    return [as_png(image) for image in inputs]
