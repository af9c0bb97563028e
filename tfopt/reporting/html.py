"""A report as one HTML file that needs nothing else: no network, no display, no TensorFlow."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfopt.report import LayerFigures, LayerSensitivity, Ratio, Report
from tfopt.report.views import trainings_table
from tfopt.reporting import wording
from tfopt.reporting.charts import charts
from tfopt.tflite.inspect import inspect

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"

# Names of the style sheet, each with its colour in light and in dark.
_PALETTE = {
    "ink": ("#1b1f24", "#e4e8ec"),
    "muted": ("#57606a", "#9aa5b1"),
    "rule": ("#d4d9df", "#363e47"),
    "tint": ("#f3f5f7", "#1d2228"),
    "accent": ("#0b5ea8", "#6fb1f0"),
    "paper": ("#ffffff", "#14181c"),
    "bad": ("#a8201a", "#ff938a"),
}


def page(
    report: Report,
    *,
    recipe: Mapping[str, Any] | None = None,
    tflite: bytes | None = None,
    name: str = "model",
) -> str:
    """Draws a report as one HTML page: the verdict first, then what it stands on.

    Nobody reads figures that have to be looked for. What a report does not hold, such as those of
    an earlier version, has no section.

    Args:
        report: What was measured.
        recipe: How the result was made, as `Recipe.to_dict` gives it; adds how to make it again.
        tflite: The file; adds its SHA-256, its inputs and its outputs.
        name: What the result is called: the name of its directory.

    Returns:
        The page, the same for the same result. It loads nothing, and a policy inside of it keeps
        browsers from loading anything.

    Example:
        >>> from tfopt.report import Score, Step
        >>> score = Score(0.9, 0.8, 0.95, 100)
        >>> step = Step("baseline", "float32", score, None, 1.0, 2_000, 1_000, 0.1, 0.1, 0.2, 50,
        ...             500, 0.0, 9, 1.0)
        >>> text = page(Report("accuracy", True, (step,)), name="<digits>")
        >>> "&lt;digits&gt;" in text, "http:" in text
        (True, False)
    """
    return render(
        "report.html",
        name=name,
        report=report,
        first=report.steps[0],
        last=report.steps[-1],
        verdict=wording.verdict(report),
        key=_key_figures(report),
        contents=_contents(report, is_file=bool(recipe or tflite)),
        charts=charts(report),
        has=_has(report),
        most=_most(report),
        layers=_layers(report),
        left_alone=_left_alone(report),
        trained=trainings_table(report.steps),
        warned=[step for step in report.steps if step.warnings],
        recipe=recipe,
        commands=_commands(recipe, name),
        recipe_json=_settings(recipe),
        file=None if tflite is None else inspect(tflite),
        sha256=None if tflite is None else hashlib.sha256(tflite).hexdigest(),
    )


def render(template: str, **values: Any) -> str:
    """Fills in one of the page templates.

    Args:
        template: The name of its file.
        **values: What it draws.
    """
    script = (_TEMPLATES / "theme.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = _environment().get_template(template).render(
        script=script,
        script_hash=f"sha256-{digest}",
        stylesheet=(_TEMPLATES / "style.css").read_text(encoding="utf-8"),
        palette=_PALETTE,
        wording=wording,
        **values,
    )  # fmt: skip
    # half a surrogate pair, which names can hold, has no place in UTF-8
    return text.encode("utf-8", "replace").decode("utf-8")


def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["name"] = name_cell
    return environment


def name_cell(name: str, limit: int = 32) -> Markup:
    """A name, escaped; a long one shortened, the whole of it a keypress away.

    Args:
        name: The name, as somebody chose it.
        limit: How many letters are shown.

    Example:
        >>> name_cell("<b>")
        Markup('&lt;b&gt;')
        >>> "<summary>aaa" in name_cell("a" * 99)
        True
    """
    from markupsafe import Markup, escape

    short = wording.shortened(name, limit)
    if short == name:
        return escape(name)
    return Markup(
        '<details class="long"><summary>{}</summary><span>{}</span></details>'
    ).format(short, name)  # fmt: skip


def _layers(report: Report) -> list[tuple[str, LayerFigures | None, LayerSensitivity | None]]:
    """What is known of each layer: its figures, and what more bits in it would bring."""
    figures = {row.layer: row for row in report.layers}
    gains = {row.layer: row for row in report.sensitivity}
    names = dict.fromkeys([*figures, *gains])
    return [(name, figures.get(name), gains.get(name)) for name in names]


def _left_alone(report: Report) -> list[tuple[str, str, str, list[str]]]:
    """Step, class, reason and names of the layers skipped, those of one reason together."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for step in report.steps:
        for skip in step.skipped:
            groups.setdefault((step.name, skip.kind, skip.reason), []).append(skip.layer)
    return [(*key, layers) for key, layers in groups.items()]


@dataclasses.dataclass(frozen=True)
class _KeyFigure:
    label: str
    now: str
    was: str


def _key_figures(report: Report) -> list[_KeyFigure]:
    """What most readers look for, against the baseline."""
    first, last = report.steps[0], report.steps[-1]
    known, value = wording.lost(report)
    score, split = wording.judged(last)
    noise = ", noise" if known and known.within_noise else ""
    told = [
        _KeyFigure(
            f"{report.metric} ({split})",
            wording.metric(score.value),
            f"{wording.signed(value)}{noise}",
        ),
        _against("file", f"{last.bytes:,} B", f"{first.bytes:,}", last.bytes / first.bytes),
        _against(
            "deflated",
            f"{last.deflated_bytes:,} B",
            f"{first.deflated_bytes:,}",
            last.deflated_bytes / first.deflated_bytes,
        ),
        _against(
            "latency",
            f"{wording.milliseconds(last.latency_ms)} ms",
            wording.milliseconds(first.latency_ms),
            wording.latency_ratio(last, first),
        ),
    ]
    if first.arena_bytes and last.arena_bytes:
        was, now = first.arena_bytes, last.arena_bytes
        told.append(_against("activations", f"{now:,} B", f"{was:,}", now / was))
    return told


def _against(label: str, now: str, was: str, change: Ratio | float) -> _KeyFigure:
    ratio = change.value if isinstance(change, Ratio) else change
    return _KeyFigure(label, now, f"x{ratio:.2f} of {was}")


def _contents(report: Report, *, is_file: bool) -> list[tuple[str, str]]:
    """The sections there are: id and title."""
    sections = [
        ("trade", "Size and speed", True),
        ("steps", "Steps", True),
        ("layers", "Layers", report.layers or report.sensitivity),
        ("groups", "Classes and groups", report.groups or report.mistakes),
        ("latency", "Latency", True),
        ("ops", "Where the time goes", report.profile),
        ("skipped", "Layers left alone", any(step.skipped for step in report.steps)),
        ("warnings", "Warnings", any(step.warnings for step in report.steps)),
        ("trained", "Trained", any(step.trainings for step in report.steps)),
        ("trials", "Tried after training", report.trials),
        ("again", "Making it again", is_file),
        ("environment", "Measured with", report.environment),
    ]
    return [(name, title) for name, title, there in sections if there]


def _has(report: Report) -> dict[str, bool]:
    """Which columns have a figure at all."""
    return {
        "kl": any(step.kl is not None for step in report.steps),
        "arena": any(step.arena_bytes is not None for step in report.steps),
        "outputs": any(step.outputs for step in report.steps),
        "advice": any(row.advice for row in report.layers),
    }


def _most(report: Report) -> dict[str, float]:
    """What bars are drawn against: the largest of each figure, never 0."""
    steps = report.steps
    return {
        "bytes": max(step.bytes for step in steps) or 1,
        "deflated_bytes": max(step.deflated_bytes for step in steps) or 1,
        "latency_ms": max(step.latency_ms for step in steps) or 1,
        "arena_bytes": max(step.arena_bytes or 0 for step in steps) or 1,
        "layer_bytes": max((row.bytes for row in report.layers), default=0) or 1,
        "gain": max((row.gain for row in report.sensitivity), default=0) or 1,
    }


def _settings(recipe: Mapping[str, Any] | None) -> str:
    """The recipe without the facts of the run."""
    if recipe is None:
        return ""
    kept = {key: recipe[key] for key in ("techniques", "target", "seed")}
    return json.dumps(kept, indent=2, ensure_ascii=False)


def _commands(recipe: Mapping[str, Any] | None, name: str) -> str:
    """How to make a result again, as commands; in Python where the data has no name."""
    if recipe is None:
        return ""
    source = recipe["made_from"].get("source")
    if not source:
        return (
            "import tfopt\n\n"
            f"print(tfopt.reproduce({name!r}, task=task).message)  # task: the same data"
        )
    data = shlex.quote(str(source.get("name") or source.get("directory") or source.get("kind")))
    folder = shlex.quote(name)
    return (
        f"tfopt reproduce {folder}\n\n"
        "# the same steps on another model\n"
        f"tfopt optimize MODEL.keras --recipe={shlex.quote(name + '/recipe.json')} "
        f"--dataset={data} --output=NEW"
    )
