"""The budgets of a target against what a report says was spent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tfopt.report.records import Budget
from tfopt.target import Target

if TYPE_CHECKING:
    from tfopt.report.report import Report


def judged(target: Target, report: Report) -> tuple[Budget, ...]:
    """Returns each budget of the target with what the last row spent.

    Args:
        target: Sets the budgets.
        report: All but the budgets.
    """
    last = report.steps[-1]
    spent = {
        "max_accuracy_drop": _lost(report),
        "max_bytes": (last.bytes, f"{last.bytes:,} bytes"),
        "max_latency_ms": (
            last.latency_ms,
            f"{last.latency_ms:.3g} ms on one thread of this machine",
        ),
        "max_arena_bytes": (
            last.arena_bytes or 0,
            f"{last.arena_bytes:,} bytes of activations at once",
        ),
        "max_group_drop": _lost_by_a_group(report),
    }
    return tuple(
        Budget(name, limit, *figures)
        for name, figures in spent.items()
        if (limit := getattr(target, name)) is not None
    )


def _lost(report: Report) -> tuple[float, str]:
    """How much worse the metric is, and on what."""
    found, score = report.difference, report.steps[-1].test or report.steps[-1].validation
    assert found is not None  # `Measurements.report` knows it
    worse = found if not report.higher_is_better else found.turned()
    return worse.value, f"{worse} on {score.samples:,} {report.split} samples"


def _lost_by_a_group(report: Report) -> tuple[float, str]:
    """How much worse the metric is for the class or group that lost most, and which one it is."""
    drops = {
        group: lost
        for group in report.groups
        if (lost := group.drop(higher_is_better=report.higher_is_better)) is not None
    }
    left = [f"{group.by} {group.name!r}" for group in report.groups if group not in drops]
    unknown = f"; too few samples to judge {', '.join(left)}" if left else ""
    if not drops:
        return math.inf, f"no class or group has figures{unknown}"
    worst = max(drops, key=lambda group: drops[group])
    if drops[worst] <= 0:
        return drops[worst], f"none of {len(drops)} classes and groups loses anything{unknown}"
    sure = "significant" if worst.significant else "within the noise"
    return drops[worst], (
        f"{worst.by} {worst.name!r} loses {drops[worst]:.4f}, the most of {len(drops)}, on "
        f"{worst.samples:,} {report.split} samples ({sure}){unknown}"
    )
