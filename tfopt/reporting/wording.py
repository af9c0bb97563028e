"""Figures and verdicts in words: what the page, the model card and the comparison share."""

from __future__ import annotations

import dataclasses

from tfopt.report import Budget, Difference, Group, Mistakes, Ratio, Report, Score, Step
from tfopt.tables import metric as metric
from tfopt.tables import signed as signed

MISSING = "\N{EN DASH}"
_SHOWN = 32
_TAIL = 8


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a report comes to, in plain sentences.

    Args:
        budgets: Whether the budgets hold, in a few words.
        size: The size and the metric against the baseline's, in one sentence.
        gave: The model it started from.
        got: The file that came out.
        cost: What was lost, and how long it took.
    """

    budgets: str
    size: str
    gave: str
    got: str
    cost: str


def verdict(report: Report) -> Verdict:
    """Says in plain sentences what a report comes to.

    Example:
        >>> score = Score(0.9, 0.8, 0.95, 100)
        >>> step = Step("baseline", "float32", score, None, 1.0, 2_000, 1_000, 0.1, 0.1, 0.2, 50,
        ...             500, 0.0, 9, 1.0)
        >>> small = dataclasses.replace(step, numerics="int8", bytes=1_000)
        >>> verdict(Report("accuracy", True, (step, small))).size
        'The file has 0.50 of the bytes it had. The accuracy is the same.'
    """
    return Verdict(budgets_kept(report), _size(report), _gave(report), _got(report), _cost(report))


def budgets_kept(report: Report) -> str:
    """Whether the budgets hold, in a few words."""
    broken = [budget.name for budget in report.budgets if not budget.kept]
    if not report.budgets:
        return "No budget was set"
    if broken:
        return f"Broken: {', '.join(broken)}"
    return "The budget is kept" if len(report.budgets) == 1 else "All budgets are kept"


def judged(step: Step) -> tuple[Score, str]:
    """The score a step is judged by, that on the test samples if there is one, and its split."""
    return (step.test, "test") if step.test else (step.validation, "validation")


def lost(report: Report) -> tuple[Difference | None, float]:
    """The last row's metric minus the first one's: with its interval if known, and as a number."""
    first, last = report.steps[0], report.steps[-1]
    # a score on the test split is compared with one on the test split only
    both = (first.test, last.test) if first.test and last.test else None
    ends = both or (first.validation, last.validation)
    known = report.difference or (last.difference if both is None else None)
    return known, known.value if known else ends[1].value - ends[0].value


def score(value: Score | None) -> str:
    """A metric with its 95 % interval.

    Example:
        >>> score(Score(0.9, 0.85, 0.95, 200))
        '0.9000 [0.8500, 0.9500]'
    """
    if value is None:
        return MISSING
    return f"{metric(value.value)} [{metric(value.low)}, {metric(value.high)}]"


def difference(value: Difference | None) -> str:
    """A difference with its 95 % interval, and whether chance alone can have made it.

    Example:
        >>> difference(Difference(-0.02, -0.03, -0.01))
        '-0.0200 [-0.0300, -0.0100]'
    """
    if value is None:
        return MISSING
    told = f"{signed(value.value)} [{signed(value.low)}, {signed(value.high)}]"
    return f"{told} (noise)" if value.within_noise else told


def milliseconds(value: float) -> str:
    """A latency.

    Example:
        >>> milliseconds(0.05449), milliseconds(12.3456), milliseconds(2345.6)
        ('0.0545', '12.3', '2,346')
    """
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A length of time.

    Example:
        >>> duration(4.25), duration(160.4), duration(7300)
        ('4.2 s', '2 min 40 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def latency_ratio(step: Step, baseline: Step) -> Ratio | float:
    """A step's latency over the baseline's, with its interval where it was measured in turns."""
    return step.latency_ratio or step.latency_ms / baseline.latency_ms


def ratio(value: Ratio | float) -> str:
    """A ratio, with its interval if there is one.

    Example:
        >>> ratio(0.5), ratio(Ratio(0.5, 0.45, 0.55))
        ('x0.50', 'x0.50 [0.45, 0.55]')
    """
    if isinstance(value, Ratio):
        return f"x{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"
    return f"x{value:.2f}"


def shortened(name: str, limit: int = _SHOWN) -> str:
    """A name that fits: its beginning and its end, control characters left out.

    Example:
        >>> shortened("a" * 50 + "_kernel", limit=20)
        'aaaaaaaaaaa…a_kernel'
    """
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    if len(name) <= limit:
        return name
    return f"{name[: limit - _TAIL - 1]}…{name[-_TAIL:]}"


def groups_worst_first(report: Report) -> list[Group]:
    """The groups, those that lost most first and those without a figure last."""

    def loss(group: Group) -> float:
        drop = group.drop(higher_is_better=report.higher_is_better)
        return float("inf") if drop is None else -drop

    return sorted(report.groups, key=loss)


def budget(value: Budget) -> str:
    """A budget against what was measured."""
    return f"{value.name} {value.limit:,}: {value.measured}"


def mistakes(value: Mistakes) -> str:
    """What only one of the two files gets wrong, in one sentence."""
    return (
        f"{value.lost:,} of {value.samples:,} samples are wrong in the new file only, "
        f"{value.won:,} in the baseline only."
    )


def _size(report: Report) -> str:
    first, last = report.steps[0], report.steps[-1]
    size = f"The file has {last.bytes / first.bytes:.2f} of the bytes it had."
    known, value = lost(report)
    if value == 0:
        return f"{size} The {report.metric} is the same."
    noise = ", which is within the noise" if known and known.within_noise else ""
    return f"{size} The {report.metric} changed by {signed(value)}{noise}."


def _gave(report: Report) -> str:
    first = report.steps[0]
    value, split = judged(first)
    return (
        f"A {first.numerics} model: {first.bytes:,} bytes ({first.deflated_bytes:,} deflated), "
        f"{first.parameters:,} weights and biases, {first.macs:,} multiply-accumulates for one "
        f"inference. Its {report.metric} on {value.samples:,} {split} samples is {score(value)}."
    )


def _got(report: Report) -> str:
    first, last = report.steps[0], report.steps[-1]
    value, split = judged(last)
    arena = "" if last.arena_bytes is None else f", its activations {last.arena_bytes:,} bytes"
    return (
        f"A file in {last.numerics}: {last.bytes:,} bytes "
        f"({ratio(last.bytes / first.bytes)}), {last.deflated_bytes:,} deflated "
        f"({ratio(last.deflated_bytes / first.deflated_bytes)}){arena}. One inference takes "
        f"{milliseconds(last.latency_ms)} ms on one thread of the machine named below "
        f"({ratio(latency_ratio(last, first))}). Its {report.metric} on {value.samples:,} {split} "
        f"samples is {score(value)}."
    )


def _cost(report: Report) -> str:
    known, value = lost(report)
    _, split = judged(report.steps[-1])
    told = f"{report.metric} {signed(value)}"
    if known:
        told += f", 95 % interval {signed(known.low)} to {signed(known.high)}"
        told += ": chance alone can make that." if known.within_noise else ": more than chance."
    else:
        told += f" on the {split} samples; the interval of the difference was not measured."
    worst = report.largest_drop
    if worst is not None and worst.difference is not None:
        certain = "more than" if worst.significant else "no more than"
        told += (
            f" The {worst.by} that lost most is {shortened(worst.name)} "
            f"({signed(worst.difference.value)} on {worst.samples:,} samples; {certain} chance)."
        )
    if report.mistakes is not None:
        told += f" {mistakes(report.mistakes)}"
    return f"{told[0].upper()}{told[1:]} The work took {duration(_seconds(report))}."


def _seconds(report: Report) -> float:
    """How long everything took: a row of a trial's file holds the time of all trials."""
    seconds = sum(step.seconds for step in report.steps)
    in_a_row = any(step.name == "post-training" for step in report.steps)
    return seconds if in_a_row else seconds + sum(trial.seconds for trial in report.trials)
