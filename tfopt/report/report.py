"""What every step did to the model: records first, then the views of them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from tfopt.tables import Table, markdown_table, text_table
from tfopt.technique import Skipped


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric over one split of the data, with its 95 % confidence interval.

    Args:
        value: The metric, in its own units (accuracy is a share, 0 to 1).
        low: Lower end of the interval.
        high: Upper end of the interval.
        samples: How many samples were evaluated.
    """

    value: float
    low: float
    high: float
    samples: int


@dataclasses.dataclass(frozen=True)
class Step:
    """One row of a report: a `.tflite` as measured after a step.

    Args:
        name: The step: the technique's name, or what else was done.
        settings: The technique's settings that are not defaults, such as `sparsity=0.5`.
        numerics: The numbers the measured file computes with.
        validation: The metric on all validation samples, in the interpreter.
        test: The metric on all test samples; only the first and the last row have one.
        agreement: How far the outputs agree with the baseline's on the validation samples, 0 to 1.
        bytes: Size of the file.
        deflated_bytes: Size of the file compressed, as an app's package stores it.
        latency_ms: Median single-thread latency of one sample, in milliseconds.
        latency_p10_ms: Its 10th percentile.
        latency_p90_ms: Its 90th percentile.
        macs: Multiply-accumulate operations of one inference.
        parameters: Weights and biases in the file.
        sparsity: Share of the weights that are zero, 0 to 1.
        unique_weights: Largest number of distinct values among weights that share a scale.
        seconds: How long the step took, conversion and measurement included.
        touched: Names of the layers the step changed.
        skipped: The layers it left alone, each with its reason.
        warnings: What else the reader has to know.
    """

    name: str
    numerics: str
    validation: Score
    test: Score | None
    agreement: float
    bytes: int
    deflated_bytes: int
    latency_ms: float
    latency_p10_ms: float
    latency_p90_ms: float
    macs: int
    parameters: int
    sparsity: float
    unique_weights: int
    seconds: float
    settings: str = ""
    touched: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Budget:
    """One budget of the target against what was measured.

    Args:
        name: The target's field, such as `max_bytes`.
        limit: The most that may be spent.
        spent: What was spent.
        measured: What was measured and on what, in words.
    """

    name: str
    limit: float
    spent: float
    measured: str

    @property
    def kept(self) -> bool:
        """Whether the budget holds."""
        return self.spent <= self.limit


@dataclasses.dataclass(frozen=True)
class Change:
    """A step against another one.

    Args:
        metric: Difference of the validation metric, in its units.
        bytes: Ratio of the file sizes (0.25: a quarter of the bytes).
        deflated_bytes: Ratio of the compressed sizes.
        latency: Ratio of the median latencies, measured in turns in one run.
    """

    metric: float
    bytes: float
    deflated_bytes: float
    latency: float

    @classmethod
    def between(cls, step: Step, reference: Step) -> Change:
        """Measures `step` against `reference`."""
        return cls(
            metric=step.validation.value - reference.validation.value,
            bytes=step.bytes / reference.bytes,
            deflated_bytes=step.deflated_bytes / reference.deflated_bytes,
            latency=step.latency_ms / reference.latency_ms,
        )


@dataclasses.dataclass(frozen=True)
class Report:
    """What was done to a model and what it bought.

    Args:
        metric: Name of the metric.
        higher_is_better: Whether a larger metric is better.
        steps: The measured rows, the float32 baseline first.
        budgets: The target's budgets and what was measured of each; empty if it has none.
        environment: Versions and machine the figures were taken with.
    """

    metric: str
    higher_is_better: bool
    steps: tuple[Step, ...]
    budgets: tuple[Budget, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether every budget holds."""
        return all(budget.kept for budget in self.budgets)

    @property
    def verdict(self) -> str:
        """The budgets in one sentence."""
        if not self.budgets:
            return "No budget was set."
        broken = [budget for budget in self.budgets if not budget.kept]
        told = "; ".join(
            f"{budget.name} {budget.limit:,}: {budget.measured}"
            for budget in broken or self.budgets
        )
        return f"{'BUDGET BROKEN' if broken else 'Budgets kept'}: {told}."

    def changes(self) -> tuple[tuple[Change, Change], ...]:
        """Each step after the first, against the step before it and against the baseline."""
        return tuple(
            (Change.between(step, before), Change.between(step, self.steps[0]))
            for before, step in itertools.pairwise(self.steps)
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values; `Report.from_dict` reads it back."""
        record = dataclasses.asdict(self)
        for row, (before, baseline) in zip(record["steps"][1:], self.changes(), strict=True):
            row["change"] = {
                "step_before": dataclasses.asdict(before),
                "baseline": dataclasses.asdict(baseline),
            }
        for row, budget in zip(record["budgets"], self.budgets, strict=True):
            row["kept"] = budget.kept
        return record | {"kept": self.kept, "verdict": self.verdict}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Report:
        """Reads what `to_dict` wrote."""
        return cls(
            metric=record["metric"],
            higher_is_better=record["higher_is_better"],
            steps=tuple(_step(row) for row in record["steps"]),
            budgets=tuple(
                Budget(row["name"], row["limit"], row["spent"], row["measured"])
                for row in record["budgets"]
            ),
            environment=record["environment"],
        )

    def to_markdown(self) -> str:
        """The report as a Markdown document."""
        sections = [f"# Optimization report\n\n**{self.verdict}** {_tested(self)}".rstrip()]
        sections += ["## Steps", *(markdown_table(*table) for table in self._tables()), _NOTES]
        for step in self.steps:
            if step.skipped:
                rows = [[skip.layer, skip.kind, skip.reason] for skip in step.skipped]
                table = markdown_table(["layer", "class", "reason"], rows)
                sections.append(f"## Layers left alone by {step.name}\n\n{table}")
            if step.warnings:
                listed = "\n".join(f"- {warning}" for warning in step.warnings)
                sections.append(f"## Warnings of {step.name}\n\n{listed}")
        if self.environment:
            made_with = ", ".join(f"{name} {value}" for name, value in self.environment.items())
            sections.append(f"Measured with {made_with}.")
        return "\n\n".join(sections) + "\n"

    def to_table(self) -> str:
        """The report as plain text for a terminal of 120 columns."""
        parts = [text_table(*table) + "\n" for table in self._tables()]
        for step in self.steps:
            parts += _left_alone(step)
            parts += [f"{step.name}: {warning}" for warning in step.warnings]
        return "\n".join([*parts, *filter(None, [_tested(self)]), self.verdict])

    def _tables(self) -> list[Table]:
        """The tables every view shows."""
        tables = [_measured(self), _structure(self)]
        return [*tables, _changed(self)] if len(self.steps) > 1 else tables

    def __str__(self) -> str:
        return self.to_table()


_NOTES = """\
Every row is a `.tflite` run in the interpreter. The metric stands with its 95 % confidence
interval, on all validation samples; the test set is used for the first and the last row only.
Agreement is with the baseline's outputs. Latency is one sample on one thread of the machine named
below; its ratios come from runs in turns. Unique weights: the largest number of distinct values
among weights that share a scale."""


def _step(row: dict[str, Any]) -> Step:
    """Reads a row that `to_dict` wrote."""
    fields = {field.name: row[field.name] for field in dataclasses.fields(Step)}
    return Step(
        **fields
        | {
            "validation": Score(**row["validation"]),
            "test": Score(**row["test"]) if row["test"] else None,
            "touched": tuple(row["touched"]),
            "skipped": tuple(Skipped(**skip) for skip in row["skipped"]),
            "warnings": tuple(row["warnings"]),
        }
    )


def _measured(report: Report) -> Table:
    """Header and cells of what each file does and costs."""
    header = ["step", "file", f"{report.metric} (validation)", "agreement"]
    header += ["bytes", "deflated", "latency ms (p10-p90)"]
    return header, [
        [
            step.name,
            step.numerics,
            _score(step.validation),
            f"{step.agreement:.2%}",
            f"{step.bytes:,}",
            f"{step.deflated_bytes:,}",
            f"{step.latency_ms:.3g} ({step.latency_p10_ms:.3g}-{step.latency_p90_ms:.3g})",
        ]
        for step in report.steps
    ]


def _structure(report: Report) -> Table:
    """Header and cells of what each file is made of."""
    header = ["step", "MACs", "parameters", "zeros", "unique weights", "seconds", "settings"]
    return header, [
        [
            step.name,
            f"{step.macs:,}",
            f"{step.parameters:,}",
            f"{step.sparsity:.1%}",
            f"{step.unique_weights:,}",
            f"{step.seconds:.1f}",
            step.settings,
        ]
        for step in report.steps
    ]


def _changed(report: Report) -> Table:
    """Header and cells of the changes, against the step before and against the baseline."""
    header = [
        "change against step before / baseline",
        report.metric,
        "bytes",
        "deflated",
        "latency",
    ]
    return header, [
        [
            step.name,
            f"{before.metric:+.4f} / {baseline.metric:+.4f}",
            f"x{before.bytes:.2f} / x{baseline.bytes:.2f}",
            f"x{before.deflated_bytes:.2f} / x{baseline.deflated_bytes:.2f}",
            f"x{before.latency:.2f} / x{baseline.latency:.2f}",
        ]
        for step, (before, baseline) in zip(report.steps[1:], report.changes(), strict=True)
    ]


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
    return "-" if score is None else f"{score.value:.4f} [{score.low:.4f}, {score.high:.4f}]"
