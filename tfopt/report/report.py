"""What every step did to the model, as a whole."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from tfopt.report import views
from tfopt.report.records import Budget, Change, Difference, LayerSensitivity, Score, Step, Trial
from tfopt.technique import Skipped


@dataclasses.dataclass(frozen=True)
class Report:
    """What was done to a model and what it bought.

    Args:
        metric: Name of the metric.
        higher_is_better: Whether a larger metric is better.
        steps: The measured rows, the float32 baseline first.
        budgets: The target's budgets and what was measured of each; empty if it has none.
        environment: Versions and machine the figures were taken with.
        trials: What was tried after training to make the last file better.
        sensitivity: What more bits in each layer would bring, where that was measured.
    """

    metric: str
    higher_is_better: bool
    steps: tuple[Step, ...]
    budgets: tuple[Budget, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()

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
            trials=tuple(_trial(row) for row in record.get("trials", ())),
            sensitivity=tuple(LayerSensitivity(**row) for row in record.get("sensitivity", ())),
        )

    def to_markdown(self) -> str:
        """The report as a Markdown document."""
        return views.markdown(self)

    def to_table(self) -> str:
        """The report as plain text for a terminal of 120 columns."""
        return views.text(self)

    def __str__(self) -> str:
        return self.to_table()


def _step(row: dict[str, Any]) -> Step:
    """Reads a row that `to_dict` wrote, if an earlier version's too."""
    fields = {field.name: row.get(field.name) for field in dataclasses.fields(Step)}
    return Step(
        **fields
        | {
            "validation": Score(**row["validation"]),
            "test": Score(**row["test"]) if row["test"] else None,
            "touched": tuple(row["touched"]),
            "skipped": tuple(Skipped(**skip) for skip in row["skipped"]),
            "warnings": tuple(row["warnings"]),
            "difference": Difference(**row["difference"]) if row.get("difference") else None,
        }
    )


def _trial(row: dict[str, Any]) -> Trial:
    """Reads a trial that `to_dict` wrote."""
    return Trial(**row | {"validation": Score(**row["validation"]) if row["validation"] else None})
