"""A report as text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfopt.report.figures import Group
from tfopt.report.records import Change, Difference, Score, Step, Trial
from tfopt.tables import Table, markdown_cell, markdown_table, metric, signed, text_table

if TYPE_CHECKING:
    from tfopt.report.report import Report

_BAR = 20
_GROUPS = 8
_OPS = 3
_NAME = 32

_NOTES = """\
Every row is a `.tflite` run in the interpreter. The metric stands with its 95 % confidence
interval, on all validation samples; the test set is used for the first and the last row only.
Agreement is with the baseline's outputs; KL is how far the outputs are from its, in nats. Latency
is one sample on one thread of the machine named below; its ratios come from runs in turns. Unique
weights: the largest number of distinct values among weights that share a scale. Activations: the
bytes of memory they take at once. The change of the metric against the baseline is measured sample
by sample, with the 95 % interval of the difference; (noise) says that chance alone can have made
it, by McNemar's exact test where samples are right or wrong, else by the interval. The error of the
outputs is their mean squared difference from the float model's, as a share of their variance."""


def markdown(report: Report) -> str:
    """A report as a Markdown document."""
    said = " ".join(filter(None, [_tested(report), *_sentences(report)]))
    told = f"**{markdown_cell(report.verdict)}** {markdown_cell(said)}".rstrip()
    sections = [f"# Optimization report\n\n{told}"]
    sections += ["## Steps", *(markdown_table(*table) for table in _tables(report)), _NOTES]
    details = _details(report, groups=len(report.groups))
    sections += [f"## {title}\n\n{markdown_table(*table)}" for title, table in details]
    for step in report.steps:
        if step.skipped:
            rows = [[skip.layer, skip.kind, skip.reason] for skip in step.skipped]
            table = markdown_table(["layer", "class", "reason"], rows)
            sections.append(f"## Layers left alone by {step.name}\n\n{table}")
        if step.warnings:
            listed = "\n".join(f"- {markdown_cell(warning)}" for warning in step.warnings)
            sections.append(f"## Warnings of {step.name}\n\n{listed}")
    if report.environment:
        made_with = ", ".join(f"{name} {value}" for name, value in report.environment.items())
        sections.append(f"Measured with {made_with}.")
    return "\n\n".join(sections) + "\n"


def text(report: Report) -> str:
    """A report as plain text for a terminal of 120 columns."""
    parts = [text_table(*table) + "\n" for table in _tables(report)]
    details = _details(report, groups=_GROUPS)
    parts += [f"{title}\n{text_table(*table)}\n" for title, table in details]
    for step in report.steps:
        parts += _left_alone(step)
        parts += [f"{step.name}: {warning}" for warning in step.warnings]
    told = filter(None, [*_sentences(report), _tested(report)])
    return "\n".join([*parts, *told, report.verdict])


def _tables(report: Report) -> list[Table]:
    """The tables every view shows."""
    tables = [_measured(report), _structure(report)]
    return [*tables, *_changed(report)] if len(report.steps) > 1 else tables


def _details(report: Report, *, groups: int) -> list[tuple[str, Table]]:
    """Titles and tables of what was found out on the way, with so many groups at most."""
    details = []
    if report.groups:
        shown = "" if groups >= len(report.groups) else f", {groups} of {len(report.groups)}"
        title = f"Classes and groups on the {report.split} samples, the largest drops first{shown}"
        details.append((title, _grouped(report, groups)))
    if any(step.trainings for step in report.steps):
        details.append(("Trained", trainings_table(report.steps)))
    if report.trials:
        details.append(("Tried after training", trials_table(report.trials, report.metric)))
    if report.sensitivity:
        details.append(("Sensitivity of the layers", _sensitivity(report)))
    return details


def _measured(report: Report) -> Table:
    """Header and cells of what each file does and costs."""
    header = ["step", "file", f"{report.metric} (validation)", "agreement"]
    is_kl = any(step.kl is not None for step in report.steps)
    header += [*["KL"] * is_kl, "bytes", "deflated", "latency ms (p10-p90)"]
    return header, [
        [
            step.name,
            step.numerics,
            _score(step.validation),
            f"{step.agreement:.2%}",
            *["-" if step.kl is None else f"{step.kl:.4f}"] * is_kl,
            f"{step.bytes:,}",
            f"{step.deflated_bytes:,}",
            f"{step.latency_ms:.3g} ({step.latency_p10_ms:.3g}-{step.latency_p90_ms:.3g})",
        ]
        for step in report.steps
    ]


def _structure(report: Report) -> Table:
    """Header and cells of what each file is made of."""
    is_arena = any(step.arena_bytes is not None for step in report.steps)
    header = ["step", "MACs", "parameters", "zeros", "unique weights"]
    header += [*["activations"] * is_arena, "seconds", "settings"]
    return header, [
        [
            step.name,
            f"{step.macs:,}",
            f"{step.parameters:,}",
            f"{step.sparsity:.1%}",
            f"{step.unique_weights:,}",
            *["-" if step.arena_bytes is None else f"{step.arena_bytes:,}"] * is_arena,
            f"{step.seconds:.1f}",
            step.settings,
        ]
        for step in report.steps
    ]


def _changed(report: Report) -> list[Table]:
    """Headers and cells of the changes: against the step before, and against the baseline."""
    figures = [report.metric, "bytes", "deflated", "latency"]
    rows = list(zip(report.steps[1:], report.changes(), strict=True))
    step_before = [
        [step.name, signed(change.metric), *_sizes(change), f"x{change.latency:.2f}"]
        for step, (change, _) in rows
    ]
    baseline = [
        [step.name, _against_baseline(step, change), *_sizes(change), _slower(step, change)]
        for step, (_, change) in rows
    ]
    tables = [(["against the step before", *figures], step_before)] if len(rows) > 1 else []
    return [*tables, (["against the baseline", *figures], baseline)]


def _sizes(change: Change) -> list[str]:
    return [f"x{change.bytes:.2f}", f"x{change.deflated_bytes:.2f}"]


def _tested(report: Report) -> str:
    """The test figures of the first and the last row, in one sentence."""
    tested = [step for step in report.steps if step.test]
    figures = ", ".join(f"{step.name} ({step.numerics}) {_score(step.test)}" for step in tested)
    samples = tested[0].test.samples if tested and tested[0].test else 0
    return f"Test {report.metric} on {samples:,} samples: {figures}." if tested else ""


def _left_alone(step: Step) -> list[str]:
    """The skipped layers of a step, those of one kind and reason in one sentence."""
    groups: dict[tuple[str, str], list[str]] = {}
    for skip in step.skipped:
        groups.setdefault((skip.kind, skip.reason), []).append(skip.layer)
    return [
        f"{step.name} left alone {', '.join(layers)} ({kind}): {reason}"
        for (kind, reason), layers in groups.items()
    ]


def _score(score: Score | None) -> str:
    """A metric with its interval, or a dash where it was not measured."""
    if score is None:
        return "-"
    return f"{metric(score.value)} [{metric(score.low)}, {metric(score.high)}]"


def _against_baseline(step: Step, change: Change) -> str:
    """The metric against the baseline's, with its interval where it is known."""
    if step.difference is None:
        return signed(change.metric)
    return _interval(step.difference) + (" (noise)" if step.difference.within_noise else "")


def _slower(step: Step, change: Change) -> str:
    """The latency over the baseline's, with its interval where it was measured in turns."""
    ratio = step.latency_ratio
    if ratio is None:
        return f"x{change.latency:.2f}"
    return f"x{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _grouped(report: Report, most: int) -> Table:
    """Header and cells of the classes and groups, those that lost most first."""
    header = ["class or group", "by", "samples", "baseline", "last step", "difference", "p"]

    def lost(group: Group) -> float:
        drop = group.drop(higher_is_better=report.higher_is_better)
        return float("inf") if drop is None else -drop

    return header, [
        [
            _short(group.name),
            _short(group.by),
            f"{group.samples:,}",
            _value(group.baseline),
            _value(group.optimized),
            group.reason if group.difference is None else _interval(group.difference),
            "-" if group.p_value is None else f"{group.p_value:.3f}",
        ]
        for group in sorted(report.groups, key=lost)[:most]
    ]


def _sentences(report: Report) -> list[str]:
    """What the last file alone gets wrong, and where its time goes."""
    told = []
    wrong = report.mistakes
    if wrong is not None:
        told.append(
            f"{wrong.lost:,} of {wrong.samples:,} {report.split} samples are wrong after the last "
            f"step only, {wrong.won:,} in the baseline only."
        )
    if report.profile is not None:
        slowest = report.profile.slowest_first[:_OPS]
        ops = (
            f"{op.op}{f' of {_short(op.layer)}' if op.layer else ''} {op.share:.0%}"
            for op in slowest
            if not op.reason
        )
        told.append(f"Its time goes to: {', '.join(ops)}.")
    return told


def _short(name: str) -> str:
    """A name that leaves the line room for the figures, and moves no cursor."""
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    return name if len(name) <= _NAME else f"{name[: _NAME - 3]}..."


def _value(score: Score | None) -> str:
    return "-" if score is None else metric(score.value)


def _interval(difference: Difference) -> str:
    ends = f"{signed(difference.low)}, {signed(difference.high)}"
    return f"{signed(difference.value)} [{ends}]"


def trials_table(trials: Sequence[Trial], metric: str) -> Table:
    """Header and cells of what was tried after training.

    Args:
        trials: The trials.
        metric: The metric's name.
    """
    header = ["way", f"{metric} (validation)", "error of the outputs", "bytes", "seconds", ""]
    return header, [
        [
            trial.name,
            _score(trial.validation),
            "-" if trial.error is None else f"{trial.error:.2%}",
            f"{trial.bytes:,}" if trial.bytes else "-",
            f"{trial.seconds:.1f}",
            "taken" if trial.chosen else trial.reason,
        ]
        for trial in trials
    ]


def trainings_table(steps: Sequence[Step]) -> Table:
    """Header and cells of how each step trained.

    Args:
        steps: The rows of a report.
    """
    header = ["step", "steps", "planned", "weights of step", "seconds", "loss, first to last epoch"]
    return header, [
        [
            step.name,
            f"{training.steps:,}",
            f"{training.planned_steps:,}",
            f"{training.best_step:,}",
            f"{training.seconds:.1f}",
            " to ".join(f"{loss:.4g}" for loss in dict.fromkeys(ends)),
        ]
        for step in steps
        for training in step.trainings
        for ends in [(*training.losses[:1], *training.losses[-1:])]
    ]


def _sensitivity(report: Report) -> Table:
    """Header and cells of what more bits in each layer would bring, with a bar."""
    header = ["layer with more bits", "error of the outputs", "gain", "", "cost", "kept in"]
    most = max(row.gain for row in report.sensitivity)
    return header, [
        [
            row.layer,
            f"{row.error:.2%}",
            f"{row.gain:.2%}",
            "#" * (round(_BAR * row.gain / most) if most > 0 else 0),
            f"{row.cost:.1%}",
            row.kept or row.reason or "-",
        ]
        for row in report.sensitivity
    ]
