"""Two results side by side, as text and as a page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from tfopt.report import Step
from tfopt.reporting import wording
from tfopt.reporting.html import render
from tfopt.reporting.saved import SavedResult
from tfopt.tables import Table, text_table

_LABEL = 32


@dataclasses.dataclass(frozen=True)
class ResultComparison:
    """Two results side by side.

    Args:
        names: What the two are called.
        sha256: The SHA-256 of their files.
        tables: Titles and tables of what is the same and what differs.
        notes: Why some of the figures cannot be compared; empty if all can.
    """

    names: tuple[str, str]
    sha256: tuple[str, str]
    tables: tuple[tuple[str, Table], ...]
    notes: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether the two files are the same, byte for byte."""
        return self.sha256[0] == self.sha256[1]

    def to_html(self) -> str:
        """The comparison as one HTML page that needs nothing else."""
        return render("diff.html", comparison=self)

    def __str__(self) -> str:
        digests = zip("AB", self.names, self.sha256, strict=True)
        parts = [f"{letter}  {name}: sha256 {digest}" for letter, name, digest in digests]
        parts += ["The two files are the same, byte for byte."] * self.is_same + [""]
        parts += [f"{title}\n{text_table(*table)}\n" for title, table in self.tables]
        return "\n".join([*parts, *self.notes])


def compare_results(first: SavedResult, second: SavedResult) -> ResultComparison:
    """Puts two saved results side by side: figures, steps, budgets, settings.

    Args:
        first: The one that ratios and differences are taken against.
        second: The other one.
    """
    pair = first, second
    names = tuple(wording.shortened(result.name, _LABEL) for result in pair)
    tables = [
        ("Figures of the two files", _figures(*pair)),
        ("Steps", _steps(*pair)),
        ("Settings", _settings(*pair)),
    ]
    if first.report.budgets or second.report.budgets:
        tables.insert(2, ("Budgets", _budgets(*pair)))
    digests = first.sha256, second.sha256
    return ResultComparison((names[0], names[1]), digests, tuple(tables), tuple(_notes(*pair)))


def _figures(a: SavedResult, b: SavedResult) -> Table:
    """The last rows, with what B is against A."""
    steps = a.report.steps[-1], b.report.steps[-1]
    rows = list(_metric_rows(a, b))
    numbers: list[tuple[str, Callable[[Step], float | None], Callable[[Any], str]]] = [
        ("bytes", lambda step: step.bytes, "{:,}".format),
        ("deflated bytes", lambda step: step.deflated_bytes, "{:,}".format),
        ("latency, ms", lambda step: step.latency_ms, wording.milliseconds),
        ("activations, bytes", lambda step: step.arena_bytes, "{:,}".format),
        ("MACs", lambda step: step.macs, "{:,}".format),
        ("parameters", lambda step: step.parameters, "{:,}".format),
        ("zeros", lambda step: step.sparsity, "{:.1%}".format),
        ("unique weights", lambda step: step.unique_weights, "{:,}".format),
    ]
    for label, value, form in numbers:
        one, two = (value(step) for step in steps)
        cells = [wording.MISSING if number is None else form(number) for number in (one, two)]
        known = one is not None and two is not None and one > 0
        ratio = f"x{two / one:.2f}" if known and one and two is not None else wording.MISSING
        rows.append([label, *cells, ratio])
    rows.append(
        ["numbers", steps[0].numerics, steps[1].numerics, _same(*(s.numerics for s in steps))]
    )
    return ["", "A", "B", "B against A"], rows


def _metric_rows(a: SavedResult, b: SavedResult) -> Iterator[list[str]]:
    """The metrics, by name: two results need not have the same."""
    ends = [(result.report, result.report.steps[-1]) for result in (a, b)]
    for metric in dict.fromkeys(report.metric for report, _ in ends):
        for split in ("validation", "test"):
            scores = [
                getattr(step, split) if report.metric == metric else None for report, step in ends
            ]
            known = [score.value for score in scores if score is not None]
            change = wording.signed(known[1] - known[0]) if len(known) == 2 else wording.MISSING
            if known:
                yield [f"{metric} ({split})", *map(wording.score, scores), change]


def _steps(a: SavedResult, b: SavedResult) -> Table:
    """The rows of both reports, those of one name beside each other."""
    header = ["step", "A metric", "B metric", "A bytes", "B bytes", "A deflated", "B deflated"]
    named = [_by_name(result) for result in (a, b)]
    rows = []
    for name in dict.fromkeys([*named[0], *named[1]]):
        pair = [steps.get(name) for steps in named]
        rows.append([wording.shortened(name, _LABEL)])
        for value in (
            lambda step: wording.metric(step.validation.value),
            lambda step: f"{step.bytes:,}",
            lambda step: f"{step.deflated_bytes:,}",
        ):
            rows[-1] += [wording.MISSING if step is None else value(step) for step in pair]
    return header, rows


def _by_name(result: SavedResult) -> dict[str, Step]:
    """The steps by name, a name that comes again with its count."""
    found: dict[str, Step] = {}
    for step in result.report.steps:
        again = sum(other.name == step.name for other in found.values())
        found[f"{step.name} ({again + 1})" if again else step.name] = step
    return found


def _budgets(a: SavedResult, b: SavedResult) -> Table:
    told: list[dict[str, str]] = [
        {
            budget.name: f"{'kept' if budget.kept else 'BROKEN'}: {_amount(budget.spent)} of "
            f"{_amount(budget.limit)}"
            for budget in result.report.budgets
        }
        for result in (a, b)
    ]
    names = dict.fromkeys([*told[0], *told[1]])
    return ["budget", "A", "B"], [
        [name, *(budgets.get(name, "not set") for budgets in told)] for name in names
    ]


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _settings(a: SavedResult, b: SavedResult) -> Table:
    """Recipe and environment, one row for each setting that is no default."""
    told = [_flat(result) for result in (a, b)]
    rows = []
    for key in dict.fromkeys([*told[0], *told[1]]):
        values = [settings.get(key, wording.MISSING) for settings in told]
        shown = [wording.shortened(value, _LABEL) for value in values]
        rows.append([wording.shortened(key, _LABEL), *shown, _same(*values)])
    return ["setting", "A", "B", ""], rows


def _flat(result: SavedResult) -> dict[str, str]:
    """The settings of a result by what they are of."""
    recipe = result.recipe
    flat = {f"target {key}": _value(value) for key, value in recipe["target"].items()}
    flat["seed"] = _value(recipe["seed"])
    for number, step in enumerate(recipe["techniques"], start=1):
        flat[f"step {number}"] = step["technique"]
        for key, value in step.items():
            if key != "technique":
                flat[f"step {number} {key}"] = _value(value)
    made = recipe["made_from"]
    flat |= {key: _value(made[key])[:16] for key in ("data", "baseline") if key in made}
    return flat | {key: str(value) for key, value in result.report.environment.items()}


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _same(one: str, two: str) -> str:
    return "" if one == two else "differs"


def _notes(a: SavedResult, b: SavedResult) -> Iterator[str]:
    data = [result.recipe["made_from"].get("data") for result in (a, b)]
    if data[0] != data[1]:
        yield "The data differs: the metrics are not of the same samples."
    if a.report.metric != b.report.metric:
        yield f"The metrics differ: {a.report.metric} and {b.report.metric}."
    if a.report.environment != b.report.environment:
        yield "The machines or versions differ: the latencies cannot be compared."
    else:
        yield "The latencies were measured in two runs: measure both in turns with tfopt benchmark."
