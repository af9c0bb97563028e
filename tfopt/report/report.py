"""What every step did to the model, as a whole."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfopt.report import views
from tfopt.report.figures import Group, LayerFigures, Mistakes, Profile
from tfopt.report.reading import plain, read
from tfopt.report.records import Budget, Change, Difference, LayerSensitivity, Step, Trial


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
        split: The samples that budgets, difference, groups and mistakes are measured on: test, or
            validation if the task has no test split.
        difference: The last row's metric minus the baseline's there, sample by sample.
        groups: The metric there by class and by group, baseline against last row.
        mistakes: What only the last row gets wrong there.
        profile: Where the last row's time goes.
        layers: What the Keras layers are in the last row.
    """

    metric: str
    higher_is_better: bool
    steps: tuple[Step, ...]
    budgets: tuple[Budget, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()
    split: str = ""
    difference: Difference | None = None
    groups: tuple[Group, ...] = ()
    mistakes: Mistakes | None = None
    profile: Profile | None = None
    layers: tuple[LayerFigures, ...] = ()

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
            (Change.between(step, self._before(position)), Change.between(step, self.steps[0]))
            for position, step in enumerate(self.steps[1:], start=1)
        )

    def _before(self, position: int) -> Step:
        """The row that the one at a position went on from."""
        before = self.steps[position].step_before
        return self.steps[position - 1 if before is None else before]

    @property
    def largest_drop(self) -> Group | None:
        """The class or group that lost most; None if none lost anything or none has figures."""
        drops = {
            group: group.drop(higher_is_better=self.higher_is_better) or 0.0
            for group in self.groups
        }
        worst = max(drops, key=lambda group: drops[group], default=None)
        return worst if worst is not None and drops[worst] > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values; `Report.from_dict` reads it back.

        JSON has no infinity and no NaN: None stands for both.
        """
        record = dataclasses.asdict(self)
        for row, (before, baseline) in zip(record["steps"][1:], self.changes(), strict=True):
            row["change"] = {
                "step_before": dataclasses.asdict(before),
                "baseline": dataclasses.asdict(baseline),
            }
        for row, budget in zip(record["budgets"], self.budgets, strict=True):
            row["kept"] = budget.kept
        whole: dict[str, Any] = plain(record | {"kept": self.kept, "verdict": self.verdict})
        return whole

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Report:
        """Reads what `to_dict` wrote, if an earlier version's too.

        Raises:
            KeyError: A field is missing.
            ValueError: A step goes on from a row that is not above it.
        """
        report = read(cls, record)
        for position, step in enumerate(report.steps):
            if step.step_before is not None and not 0 <= step.step_before < position:
                raise ValueError(f"row {position} goes on from row {step.step_before}")
        return report

    def to_markdown(self) -> str:
        """The report as a Markdown document."""
        return views.markdown(self)

    def to_table(self) -> str:
        """The report as plain text for a terminal of 120 columns."""
        return views.text(self)

    def __str__(self) -> str:
        return self.to_table()
