"""The table as Markdown: counts first, then every cell."""

from __future__ import annotations

import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from coverage_parts import STATUSES, Cell, RowFile
from coverage_parts.rows import Row
from tfopt.tables import markdown_table

_PACKAGES = ("tensorflow", "tf-keras", "keras", "tensorflow-model-optimization", "ai-edge-litert")
_TITLES = {
    ("zoo", "tf_keras"): "Typical small models in tf_keras",
    ("zoo", "keras"): "Typical small models in Keras 3",
    ("applications", "tf_keras"): "tf_keras.applications at their smallest input",
    ("applications", "keras"): "keras.applications at their smallest input",
}
_THEIRS = ("TF-MOT", "converter")
_LONGEST = 300
_FEW = 20
_LAYER = re.compile(r"^\S+(?: \(\w+\))*(?= \(\w+\): )")  # of several models, the kinds agree
_FOLDER = re.compile(r"/\S+/(?=model\.)")  # a temporary one
_PARAGRAPHS = """\
Made by `python scripts/coverage.py`. Models have random weights, batch norm holding the statistics
of data; each technique trains some steps on random data. In applications the offsets of batch norm
are 1.5, and errors are held against what varies from sample to sample: left as they are made, fifty
random layers amplify the rounding of 8 bits until little is left to compare. `load` and `from
file`: the model itself, and the files its own Keras writes, give a tf_keras model with the same
outputs. `prune`, `cluster` and `QAT` apply a technique and measure what it claims. `QAT`: every
layer is fake-quantized in training, or calibrated at conversion, or counted as skipped. `float32`,
`int8`, `QAT int8` and `int16x8`: the file runs with and without XNNPACK, its outputs are the
model's (int8: the root mean square of the error below 35 % of the outputs'), and it is integer
only, or names the ops that are not; where rounding adds up to more through many random layers, each
layer is held against the model's instead, and none may lose the signal at once (a softmax is held
against the logits that it reads). `save`: saved and loaded as `.keras`, `.h5` and SavedModel,
before and after QAT. Beside them TF-MOT and TensorFlow's converter alone, as their documentation
says, on a clone, each falling back to the layers it supports; a file that is not integer only, or
wrong, counts as failed.

A cell is `ok`; `partial`, with what is left out; `refused` by an error that says why and what to
do; `failed`; `crashed`; or `late`. A dot: not measured."""


def markdown(rows: Sequence[Row], output: Path, columns: Sequence[str]) -> str:
    """Returns the page.

    Args:
        rows: The rows to show; those without any cell are counted, not shown.
        output: The directory of all results.
        columns: The columns.
    """
    cells = {row: RowFile(output, row.name).cells for row in rows}
    measured = [row for row in rows if cells[row]]
    parts = ["# Coverage: what works on which model", _PARAGRAPHS, _versions(), "## Counts"]
    parts.append(_counts(measured, cells, columns, len(rows)))
    parts.append(_goal(measured, cells))
    if len(measured) < len(rows):
        parts.append(_missing(rows, measured))
    parts += _reasons(measured, cells, columns)
    for (group, keras), title in _TITLES.items():
        chosen = [row for row in measured if (row.group, row.keras) == (group, keras)]
        if chosen:
            body = [[row.model, *(_text(cells[row].get(c)) for c in columns)] for row in chosen]
            parts += [f"## {title}", markdown_table(["model", *columns], body)]
    return "\n\n".join(parts) + "\n"


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "."
    if cell.status in ("ok", "partial"):
        return f"{cell.status} ({cell.note})" if cell.note else cell.status
    return f"{cell.status}: {cell.note}"


def _counts(
    rows: Sequence[Row], cells: dict[Row, dict[str, Cell]], columns: Sequence[str], every: int
) -> str:
    """How many models each column is done, partial, refused or wrong on, and not measured on."""
    body = []
    for column in columns:
        found = Counter(cells[row][column].status for row in rows if column in cells[row])
        counts = [*(found[kind] for kind in STATUSES), found.total(), every - found.total()]
        body.append([column, *map(str, counts)])
    return markdown_table(["", *STATUSES, "measured", "not measured"], body)


def _missing(rows: Sequence[Row], measured: Sequence[Row]) -> str:
    """Which models have no cell at all; of many, how many."""
    left: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row not in measured:
            left[row.group, row.keras].append(row.model)
    kinds = [
        f"{_TITLES[kind]}: {', '.join(names) if len(names) <= _FEW else len(names)}"
        for kind, names in left.items()
    ]
    return (
        f"{len(rows) - len(measured)} of {len(rows)} models are not measured yet, and nothing is "
        f"claimed of them ({'; '.join(kinds)})."
    )


def _reasons(
    rows: Sequence[Row], cells: dict[Row, dict[str, Cell]], columns: Sequence[str]
) -> list[str]:
    """What is not `ok` in a column of tfopt's own, and why, with the models it is so on."""
    models: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for column in columns:
        for row in rows:
            cell = cells[row].get(column)
            if cell is not None and cell.status != "ok" and not column.startswith(_THEIRS):
                models[column, cell.status, _first_words(cell)].append(row.name)
    if not models:
        return []
    lines = [
        f"- {column}, {status}, {', '.join(names)}: {reason}"
        for (column, status, reason), names in models.items()
    ]
    return ["## What is not ok, and why", "\n".join(lines)]


def _first_words(cell: Cell) -> str:
    """The reason without its traceback and the names of layers, on one line."""
    lines = [_LAYER.sub("", line) for line in cell.reason.partition("\n\n")[0].splitlines()]
    text = _FOLDER.sub("", " ".join("; ".join(dict.fromkeys(lines)).split()))
    return textwrap.shorten(text or cell.note, _LONGEST, placeholder=" ...")


def _goal(rows: Sequence[Row], cells: dict[Row, dict[str, Cell]]) -> str:
    """How far quantization-aware training gets: every layer seen to, and integers only."""
    pair = ("QAT", "QAT int8")
    asked = [row for row in rows if set(pair) <= set(cells[row])]
    good = [row for row in asked if all(cells[row][column].status == "ok" for column in pair)]
    share = len(good) / len(asked) if asked else 0.0
    return (
        f"Quantization-aware training sees to every layer and gives an integer-only file on "
        f"{len(good)} of {len(asked)} models ({share:.0%})."
    )


def _versions() -> str:
    return "Measured with " + ", ".join(f"{name} {version(name)}" for name in _PACKAGES) + "."
