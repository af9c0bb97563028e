"""Nobody left behind: the metric of two models by class and by group."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from tfopt.errors import SettingError, TfoptError
from tfopt.measure.intervals import bootstrap, wilson
from tfopt.measure.paired import difference_on, holm, p_value
from tfopt.measure.quality import Quality
from tfopt.report import Group, Score
from tfopt.task.groups import names_of

if TYPE_CHECKING:
    from tfopt.task import Task

LEAST_SAMPLES = 25
"""Fewer say nothing: the interval of a share of 25 is 40 points wide."""


def by_group(optimized: Quality, baseline: Quality, *, task: Task) -> tuple[Group, ...]:
    """Compares two models on the samples of each class and of each of the task's groups.

    A whole that is as good as before can hide a class that lost much. P-values are corrected for
    the number of groups by Holm's method; a group of fewer than 25 samples is named, not measured.

    Args:
        optimized: Of one model, as `evaluate` gives it.
        baseline: Of the other, with the same task and split.
        task: Names the classes and the groups.

    Returns:
        The classes in their order, if samples have one, then the groups by name.

    Raises:
        DataError: A function of the task's groups fails.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> task = tfopt.Task.digits()
        >>> quality = tfopt.evaluate(small_cnn(), task=task)
        >>> rows = by_group(quality, quality, task=task)
        >>> [row.name for row in rows][:3], rows[0].difference.value
        (['0', '1', '2'], 0.0)
    """
    rows = [
        _group(name, by, np.flatnonzero(mask), optimized, baseline, task.seed)
        for by, name, mask in _members(baseline, task)
    ]
    measured = [index for index, row in enumerate(rows) if row.difference is not None]
    alone = [p_value(found) for row in rows if (found := row.difference) is not None]
    for index, corrected in zip(measured, holm(alone), strict=True):
        rows[index] = dataclasses.replace(rows[index], p_value=corrected)
    return tuple(rows)


def check_groups(task: Task, quality: Quality) -> None:
    """Refuses a budget for the drop of a group where there is no group to judge.

    Args:
        task: Names the groups.
        quality: Of the baseline on any split.

    Raises:
        SettingError: There is none of enough samples.
    """
    sizes = [int(mask.sum()) for _, _, mask in _members(quality, task)]
    if max(sizes, default=0) < LEAST_SAMPLES:
        raise SettingError(
            received="max_group_drop for data "
            + (f"whose largest group has {max(sizes)} samples" if sizes else "without groups"),
            expected=f"classes or groups of at least {LEAST_SAMPLES} samples",
            fix="give the task groups, task.grouped(...), or leave max_group_drop out",
        )


def _members(quality: Quality, task: Task) -> list[tuple[str, str, np.ndarray]]:
    """Each class and group: by what, its name, and which samples are in it."""
    found = []
    if quality.classes is not None:
        for number in np.unique(quality.classes):
            found.append(("class", task.class_name(number), quality.classes == number))
    if task.groups:
        split = task.split(quality.split)  # type: ignore[arg-type]
        for by, labels in names_of(task.groups, split, quality.split).items():
            found += [(by, str(name), labels == name) for name in np.unique(labels)]
    return found


def _group(
    name: str, by: str, positions: np.ndarray, optimized: Quality, baseline: Quality, seed: int
) -> Group:
    """One row, or why it has no figures."""
    count = len(positions)
    if count < LEAST_SAMPLES:
        reason = f"{count} samples, fewer than {LEAST_SAMPLES}"
        return Group(name, by, count, reason=reason)
    try:
        scores = [_score(quality, positions, seed) for quality in (baseline, optimized)]
        apart = difference_on(positions, optimized, baseline, seed=seed)
    except TfoptError:
        raise
    except Exception as error:  # a metric of the user's own, which has run on all samples
        reason = f"{optimized.metric} fails on these samples alone ({type(error).__name__})"
        return Group(name, by, count, reason=reason)
    if any(np.isnan(value) for value in (apart.value, apart.low)):
        return Group(name, by, count, reason=f"{optimized.metric} has no value on these samples")
    return Group(name, by, count, scores[0], scores[1], apart)


def _score(quality: Quality, positions: np.ndarray, seed: int) -> Score:
    """The metric on some samples, with its interval."""
    statistic = quality.statistic
    assert statistic is not None  # `evaluate` knows it
    value, count = statistic(positions), len(positions)
    if quality.right is not None:
        return Score(value, *wilson(int(quality.right[positions].sum()), count), count)
    interval = bootstrap(lambda index: statistic(positions[index]), count, seed=seed, resamples=200)
    return Score(value, *interval, count)
