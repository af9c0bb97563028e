"""The drawings of a report, each with the same figures as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfopt.report import Report, Step, Trial
from tfopt.reporting import svg, wording
from tfopt.reporting.marks import number_marks
from tfopt.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = (3.6, 2.75)  # 346 pixels wide: fits a phone without shrinking the letters
_MARGINS = (0.16, 0.97, 0.17, 0.9)
_WIDE = 3.9
_GROUPS = 20


@dataclasses.dataclass(frozen=True)
class Chart:
    """A figure of a page.

    Args:
        name: Its id.
        title: What it shows.
        caption: How to read it.
        panels: Its drawings, `<svg>` elements.
        table: The same figures as text: header and rows.
    """

    name: str
    title: str
    caption: str
    panels: tuple[str, ...]
    table: Table


def charts(report: Report) -> dict[str, Chart]:
    """Draws what a report holds the figures of.

    Returns:
        Charts by name: always `trade` and `latency`; `groups` if there are any with figures.
    """
    with svg.style():
        drawn = [_trade(report), _latency(report)]
        if any(group.difference for group in report.groups):
            drawn.append(_groups(report))
    return {chart.name: chart for chart in drawn}


def _trade(report: Report) -> Chart:
    """What each file costs against how good it is."""
    below = [trial for trial in _measured(report) if not _in_sight(report, trial)]
    caption = (
        "Each number is a row of the step table, with its 95 % interval on the validation samples. "
        "The line joins the files that no other beats in both respects."
    )
    if _measured(report):
        caption += " Crosses are files that were tried after training."
    if below:
        caption += f" Outside of the figure: {len(below)} of them, in the table below."
    panels = [
        ("trade-bytes", "file, kB", [step.bytes / 1e3 for step in report.steps]),
        ("trade-deflated", "deflated file, kB", [s.deflated_bytes / 1e3 for s in report.steps]),
        ("trade-latency", "latency, ms", [step.latency_ms for step in report.steps]),
    ]
    return Chart(
        name="trade",
        title=f"What each file costs, and its {report.metric}",
        caption=caption,
        panels=tuple(_scatter(report, *panel) for panel in panels),
        table=_trade_table(report),
    )


def _trade_table(report: Report) -> Table:
    header = ["file", f"{report.metric} (validation)", "bytes", "deflated", "latency, ms"]
    rows = [
        [
            f"{number}. {step.name}",
            wording.score(step.validation),
            f"{step.bytes:,}",
            f"{step.deflated_bytes:,}",
            wording.milliseconds(step.latency_ms),
        ]
        for number, step in enumerate(report.steps, start=1)
    ]
    none = wording.MISSING
    rows += [
        [f"tried: {trial.name}", wording.score(trial.validation), f"{trial.bytes:,}", none, none]
        for trial in _measured(report)
    ]
    return header, rows


def _scatter(report: Report, name: str, label: str, costs: list[float]) -> str:
    """The metric of every step over one of its costs."""
    figure, axes = svg.panel(*_PANEL, margins=_MARGINS)
    values = [step.validation.value for step in report.steps]
    for cost, step in zip(costs, report.steps, strict=True):
        ends = [step.validation.low, step.validation.high]
        axes.plot([cost, cost], ends, color=svg.RULE, linewidth=2)
    best = sorted((costs[index], values[index]) for index in _undominated(costs, report))
    axes.plot([cost for cost, _ in best], [value for _, value in best], color=svg.ACCENT)
    for trial in _measured(report) if name == "trade-bytes" else ():
        if trial.validation is not None and _in_sight(report, trial):
            spot = trial.bytes / 1e3, trial.validation.value
            axes.plot(*spot, marker="x", color=svg.MUTED, markersize=5)
    for spot in sorted(zip(costs, values, strict=True), key=lambda spot: spot in best):
        colour = svg.ACCENT if spot in best else svg.MUTED
        filled = svg.ACCENT if spot in best else svg.PAPER
        axes.plot(*spot, "o", color=colour, markerfacecolor=filled, markersize=6, zorder=4)
    axes.set_xlim(0, _largest(costs) * 1.12)
    axes.set_ylim(*_sight(report))
    axes.locator_params(nbins=5)
    axes.yaxis.set_major_formatter("{x:.4g}")
    axes.set_xlabel(label)
    axes.set_title(_metric(report) + ("" if report.higher_is_better else " (lower is better)"))
    number_marks(axes, list(zip(costs, values, strict=True)))
    title = f"{report.metric} of each step over its {label}: the table below has the figures"
    return svg.inline(figure, name, title)


def _largest(values: Sequence[float]) -> float:
    """The largest of numbers that an axis can end at, never 0."""
    return max((value for value in values if math.isfinite(value)), default=0) or 1.0


def _undominated(costs: list[float], report: Report) -> list[int]:
    """The steps that no other beats in cost and in the metric."""
    sign = 1 if report.higher_is_better else -1
    values = [sign * step.validation.value for step in report.steps]
    pairs = list(zip(costs, values, strict=True))
    return [
        index
        for index, (cost, value) in enumerate(pairs)
        if math.isfinite(cost + value)
        and not any(
            other[0] <= cost and other[1] >= value and other != (cost, value) for other in pairs
        )
    ]


def _measured(report: Report) -> list[Trial]:
    return [trial for trial in report.trials if trial.validation is not None and trial.bytes]


def _sight(report: Report) -> tuple[float, float]:
    """The ends of the metric's axis: the steps and their intervals, with some air."""
    scores = [step.validation for step in report.steps]
    ends = [end for score in scores for end in (score.low, score.value, score.high)]
    known = [end for end in ends if math.isfinite(end)] or [0.0]
    air = 0.06 * (max(known) - min(known)) or 0.01
    return min(known) - air, max(known) + air


def _in_sight(report: Report, trial: Trial) -> bool:
    low, high = _sight(report)
    costs = [step.bytes for step in report.steps]
    return trial.validation is not None and (
        low <= trial.validation.value <= high and trial.bytes <= 1.12 * _largest(costs)
    )


def _latency(report: Report) -> Chart:
    """Where the single runs lie: thin from the 5th to the 95th percentile, thick in the middle."""
    figure, axes = svg.panel(_WIDE, 0.8 + 0.3 * len(report.steps))
    for row, step in enumerate(report.steps):
        last = row == len(report.steps) - 1
        colour = svg.ACCENT if last else svg.MUTED
        low, lower, middle, upper, high = _percentiles(step)
        axes.plot([low, high], [row, row], color=colour, linewidth=1)
        axes.plot([lower, upper], [row, row], color=colour, linewidth=6, solid_capstyle="butt")
        axes.plot(middle, row, "|", color=svg.INK, markersize=13, markeredgewidth=1.5)
    _name_rows(axes, [f"{i}. {step.name}" for i, step in enumerate(report.steps, start=1)])
    axes.set_xlim(0, _largest([_percentiles(step)[-1] for step in report.steps]) * 1.05)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("one inference on one thread, ms")
    drawn = svg.inline(figure, "latency-runs", "Latency of each step: the table below has it too")
    lines = "The line goes from the 10th to the 90th percentile."
    if report.steps[0].latencies_ms:
        lines = "The thick line holds the middle half of the runs, the thin one nine tenths."
    return Chart(
        name="latency",
        title="How long one inference takes",
        caption=f"The stroke is the median. {lines}",
        panels=(drawn,),
        table=_latency_table(report),
    )


def _latency_table(report: Report) -> Table:
    header = ["step", "median, ms", "10th percentile", "90th percentile", "over the baseline's"]
    return header, [
        [
            f"{number}. {step.name}",
            wording.milliseconds(step.latency_ms),
            wording.milliseconds(step.latency_p10_ms),
            wording.milliseconds(step.latency_p90_ms),
            wording.ratio(wording.latency_ratio(step, report.steps[0])),
        ]
        for number, step in enumerate(report.steps, start=1)
    ]


def _percentiles(step: Step) -> tuple[float, ...]:
    """The 5th, 25th, 50th, 75th and 95th, as far as they are known."""
    if len(step.latencies_ms) == 21:
        return tuple(step.latencies_ms[index] for index in (1, 5, 10, 15, 19))
    ends = step.latency_p10_ms, step.latency_p90_ms
    return ends[0], step.latency_ms, step.latency_ms, step.latency_ms, ends[1]


def _groups(report: Report) -> Chart:
    """How much each class and group gained or lost, with the intervals."""
    known = [group for group in wording.groups_worst_first(report) if group.difference]
    shown = known[:_GROUPS]
    figure, axes = svg.panel(_WIDE, 0.8 + 0.24 * len(shown))
    for row, group in enumerate(shown):
        assert group.difference is not None
        colour = svg.ACCENT if group.significant else svg.MUTED
        ends = [group.difference.low, group.difference.high]
        axes.plot(ends, [row, row], color=colour, linewidth=1.5)
        filled = colour if group.significant else svg.PAPER
        value = group.difference.value
        axes.plot(value, row, "o", color=colour, markerfacecolor=filled, markersize=6)
    axes.axvline(0, color=svg.INK, linewidth=1)
    several = len({group.by for group in shown}) > 1
    _name_rows(axes, [f"{g.by}: {g.name}" if several else g.name for g in shown])
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(f"{_metric(report)}, new file minus baseline")
    caption = "Filled: more than chance, corrected for the number of groups. Hollow: it is not."
    if len(known) > len(shown):
        caption += f" The {_GROUPS} that lost most of {len(known)}; the table has all."
    return Chart(
        name="groups",
        title="What each class and group gained or lost",
        caption=caption,
        panels=(svg.inline(figure, "groups-gaps", "Change by group: the table has the figures"),),
        table=_groups_table(report),
    )


def _groups_table(report: Report) -> Table:
    header = ["group", "by", "samples", "baseline", "new file", "difference", "p, corrected"]
    return header, [
        [
            group.name,
            group.by,
            f"{group.samples:,}",
            *(
                [group.reason or wording.MISSING] * 2
                if group.difference is None
                else [wording.score(group.baseline), wording.score(group.optimized)]
            ),
            wording.difference(group.difference),
            wording.MISSING if group.p_value is None else f"{group.p_value:.3f}",
        ]
        for group in wording.groups_worst_first(report)
    ]


def _metric(report: Report) -> str:
    """The metric's name, which somebody else chose, so that it fits over an axis."""
    return wording.shortened(report.metric, 20)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows from the top, each with its name."""
    labels = [wording.shortened(name, 20) for name in names]
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0, labelcolor=svg.INK)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
