"""The model card of a result: what whoever ships a model has to say of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tfopt.report import Report
from tfopt.reporting import wording
from tfopt.tables import markdown_cell, markdown_table
from tfopt.tflite.inspect import Tensor, inspect

TO_FILL_IN = "**TO FILL IN**"


def model_card(
    report: Report,
    *,
    recipe: Mapping[str, Any] | None = None,
    tflite: bytes | None = None,
    name: str = "model",
) -> str:
    """Writes the model card of a result in Markdown.

    What was measured stands in it with its interval. What only a person can know is marked
    `**TO FILL IN**`, never guessed.

    Args:
        report: What was measured.
        recipe: How the result was made, as `Recipe.to_dict` gives it; adds the data and the steps.
        tflite: The file; adds its SHA-256, its inputs and its outputs.
        name: What the result is called: the name of its directory.

    Example:
        >>> from tfopt.report import Score, Step
        >>> score = Score(0.9, 0.8, 0.95, 100)
        >>> step = Step("baseline", "float32", score, None, 1.0, 2_000, 1_000, 0.1, 0.1, 0.2, 50,
        ...             500, 0.0, 9, 1.0)
        >>> print(model_card(Report("accuracy", True, (step,)), name="digits").splitlines()[0])
        # Model card: digits

    References:
        Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
    """
    sections = [
        f"# Model card: {markdown_cell(wording.shortened(name, 120))}",
        f"The figures were measured by tfopt. Lines with {TO_FILL_IN} wait for a person.",
        _model(report, tflite),
        "## Intended use",
        f"- {TO_FILL_IN}: what the model is for, and who uses it.\n"
        f"- {TO_FILL_IN}: what it must not be used for.",
        _data(report, recipe),
        _metrics(report),
        _groups(report),
        _limits(report),
        _made(recipe),
        "## Licence",
        f"{TO_FILL_IN}: the licence of the model and of its weights, which the data may bind too. "
        "The licence of tfopt says nothing of it.",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _model(report: Report, tflite: bytes | None) -> str:
    last = report.steps[-1]
    rows = [
        ["numbers it computes with", last.numerics],
        ["file", f"{last.bytes:,} bytes, {last.deflated_bytes:,} deflated"],
        ["weights and biases", f"{last.parameters:,}, {last.sparsity:.1%} of the weights zero"],
        ["multiply-accumulates of one inference", f"{last.macs:,}"],
        ["made from", f"a {report.steps[0].numerics} model of {report.steps[0].bytes:,} bytes"],
    ]
    if last.arena_bytes is not None:
        rows.append(["memory of the activations", f"{last.arena_bytes:,} bytes"])
    rows += [
        [f"step {number}", f"{step.name} {step.settings}".rstrip()]
        for number, step in enumerate(report.steps[1:], start=1)
    ]
    if tflite is not None:
        file = inspect(tflite)
        rows += [["input", _tensor(tensor)] for tensor in file.inputs]
        rows += [["output", _tensor(tensor)] for tensor in file.outputs]
        rows.append(["SHA-256 of model.tflite", f"`{hashlib.sha256(tflite).hexdigest()}`"])
    return f"## Model\n\n{markdown_table(['', ''], rows)}\n\n{TO_FILL_IN}: owner, version, contact."


def _tensor(tensor: Tensor) -> str:
    told = f"{wording.shortened(tensor.name)}: {tensor.dtype} {list(tensor.shape)}"
    if not tensor.scales:
        return told
    zero = tensor.zero_points[0]
    stored = f"(stored {'-' if zero > 0 else '+'} {abs(zero)})" if zero else "stored"
    return f"{told}, real = {tensor.scales[0]:.6g} * {stored}"


def _data(report: Report, recipe: Mapping[str, Any] | None) -> str:
    first = report.steps[0]
    told = [f"- Validation: {first.validation.samples:,} samples, which the steps were chosen on."]
    if first.test:
        told.append(f"- Test: {first.test.samples:,} samples, which nothing was chosen on.")
    else:
        told.append("- No test samples: the figures below are of data that choices were made on.")
    made = recipe["made_from"] if recipe else {}
    source = made.get("source")
    if source:
        named = source.get("name") or source.get("directory") or source.get("kind")
        told.insert(0, f"- {markdown_cell(wording.shortened(str(named), 120))}")
    if made.get("data"):
        told.append(f"- Fingerprint of all splits: `{markdown_cell(str(made['data']))}`")
    told.append(f"- {TO_FILL_IN}: where the data comes from, who or what is in it, its licence.")
    return "## Data\n\n" + "\n".join(told)


def _metrics(report: Report) -> str:
    first, last = report.steps[0], report.steps[-1]
    rows = [
        [f"{report.metric}, validation", *(wording.score(s.validation) for s in (first, last))],
        [f"{report.metric}, test", *(wording.score(step.test) for step in (first, last))],
        ["agreement with the baseline", wording.MISSING, f"{last.agreement:.2%}"],
        ["latency of one sample, ms", *(_latency(step) for step in (first, last))],
    ]
    known, value = wording.lost(report)
    change = wording.difference(known) if known else wording.signed(value)
    table = markdown_table(["", "baseline", "this model"], rows)
    better = "more" if report.higher_is_better else "less"
    return (
        f"## Metrics\n\n{table}\n\n"
        f"Change of the {markdown_cell(report.metric)} ({better} is better): {change}. "
        "Brackets hold 95 % confidence intervals. The latency is that of one thread of "
        f"{markdown_cell(report.environment.get('machine', 'the machine it was measured on'))}."
    )


def _latency(step: Any) -> str:
    ends = f"{wording.milliseconds(step.latency_p10_ms)} to "
    ends += wording.milliseconds(step.latency_p90_ms)
    return f"{wording.milliseconds(step.latency_ms)} ({ends})"


def _groups(report: Report) -> str:
    if not report.groups:
        told = (
            f"Not measured. {TO_FILL_IN}: whether the model is worse for some than for others "
            "(give the task `groups=`, and the report has it)."
        )
        return f"## Classes and groups\n\n{told}"
    header = ["group", "by", "samples", "baseline", "this model", "difference", "p, corrected"]
    rows = [
        [
            wording.shortened(group.name),
            group.by,
            f"{group.samples:,}",
            wording.score(group.baseline),
            wording.score(group.optimized),
            wording.difference(group.difference) if group.difference else group.reason,
            wording.MISSING if group.p_value is None else f"{group.p_value:.3f}",
        ]
        for group in wording.groups_worst_first(report)
    ]
    return f"## Classes and groups\n\n{markdown_table(header, rows)}"


def _limits(report: Report) -> str:
    """What the figures themselves say against the model, and what only a person can add."""
    known, _ = wording.lost(report)
    told = []
    if known and not known.within_noise:
        told.append(f"The {report.metric} differs from the baseline's by more than chance.")
    worse = [
        f"{wording.shortened(group.name)} ({wording.difference(group.difference)})"
        for group in report.groups
        if group.significant and (group.drop(higher_is_better=report.higher_is_better) or 0) > 0
    ]
    if worse:
        told.append(f"Worse than the baseline by more than chance for: {', '.join(worse)}.")
    few = [wording.shortened(group.name) for group in report.groups if group.difference is None]
    if few:
        told.append(f"Too few samples to say anything of: {', '.join(few)}.")
    if report.mistakes:
        told.append(wording.mistakes(report.mistakes))
    told += [f"Broken budget: {wording.budget(b)}." for b in report.budgets if not b.kept]
    told += report.steps[-1].warnings
    told.append("Latency is another on another device: measure it there.")
    lines = [f"- {markdown_cell(line)}" for line in told]
    lines.append(f"- {TO_FILL_IN}: conditions it was not tested in, and what happens if it errs.")
    return "## Limits\n\n" + "\n".join(lines)


def _made(recipe: Mapping[str, Any] | None) -> str:
    if recipe is None:
        return ""
    kept = {key: recipe[key] for key in ("techniques", "target", "seed")}
    text = json.dumps(kept, indent=2)
    versions = recipe["made_from"].get("environment", {})
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    made_with = f"Made with {markdown_cell(told)}.\n\n" if told else ""
    return f"## How it was made\n\n{made_with}```json\n{text}\n```"
