"""Metrics that are none, and limits that none can reach, are refused before anything is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfopt.errors import SettingError
from tfopt.measure import keras_metrics
from tfopt.measure.metrics import find


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
    known = keras_metrics.class_name(metric) is not None
    if not known and not keras_metrics.is_metric(metric) and not callable(metric):
        find(metric)


def check_drops(metric: Any, **limits: float | None) -> None:
    """Refuses to let a share, such as accuracy, drop by more than all of it: 5 for five points.

    Args:
        metric: A task's metric.
        limits: What it may drop by, by the setting that says so; None for no limit.

    Raises:
        SettingError: A limit is above 1.

    Example:
        >>> check_drops("accuracy", max_accuracy_drop=0.05)
    """
    of_keras = keras_metrics.class_name(metric) is not None
    if of_keras or not isinstance(metric, str) or not find(metric).of_classes:
        return
    for setting, limit in limits.items():
        if limit is not None and limit > 1:
            raise SettingError(
                received=f"{setting}={limit:g} for the metric {metric!r}, which is at most 1",
                expected="a share of 1, such as 0.01 for one point",
                fix=f"use {setting}={limit / 100:g} for {limit:g} points"
                if limit <= 100
                else f"leave {setting} out to allow any",
            )
