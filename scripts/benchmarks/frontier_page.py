"""The frontier's page: tables, goals and the fronts as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import Settings
from benchmarks.frontier_rows import Net, percent, rows
from benchmarks.frontier_table import (
    FLOAT,
    MOST_LOST,
    SAME_LATENCY,
    Cell,
    Latencies,
    Measure,
    front,
    goals,
    median,
    table,
)

PAGE, PICTURE = "frontier.md", "frontier.svg"

_COLOURS = {"tfopt": "#0b6e4f", "TF-MOT": "#c1440e", "": "#555555"}
_INTRODUCTION = """\
# Accuracy against size and speed

Written by `scripts/benchmark.py --suite=frontier`. Each row starts from the same trained baseline
and is trained for as many epochs, with the same optimizer, batches of 64 and augmentation,
whoever's it is. Settings were chosen on the validation data: learning rates rise over a tenth of
the steps and fall along a cosine, with a peak of 5e-3 for pruning (TF-MOT's and tfopt's), 1e-3
for clustering and quantization-aware training (both), and for removed channels {cut_rates}. The
sparsity of one row, {zeros}, is what brings its file to the goal in deflated bytes.
Accuracies are of all test images. TF-MOT runs through its own API and TensorFlow's converter;
tfopt's rows learn from the baseline as their teacher too. Bytes are of the file, deflated ones of
the file compressed. Latencies are of one image on one thread, of all files in turns; those within
{same} of each other count as the same where fronts are compared, though on a machine that is shared
files of the same ops can differ by more. A goal looks at all rows of
an owner, of which tfopt has {ours} and TF-MOT {theirs}. PCQAT is pruned, clustered, then trained
quantization-aware; what is rounded to 4 bits is stored in an 8-bit file
(`RoundWeights(bits=4)`), what has 4 bits in one of 4-bit weights (`Target.int4_weights()`),
what is stored sparse leaves its zeros out (`sparse_encoding=True`), and what is compact has scales
and biases of few digits (`compact=True`)."""
_TILES = """\
This CPU has matrix tiles (AMX), on which a convolution of 8-bit numbers with 16 channels takes as
long as one with 64. Latencies without tiles are of the same files in a process that is denied
them: what other CPUs do."""


def write(
    nets: Sequence[Net],
    cells: Mapping[str, Sequence[Cell]],
    latencies: Mapping[str, Latencies | None],
    settings: Settings,
) -> str:
    """Writes the page and its picture, and returns the page.

    Args:
        nets: The nets, in order.
        cells: What there is of each, by its name.
        latencies: Likewise; None where they are not measured yet.
        settings: Says where to.
    """
    sections = [_introduction(nets)]
    if any(found and found.without_tiles for found in latencies.values()):
        sections.append(_TILES)
    whole = all(latencies.values())
    if whole:
        draw(nets, cells, latencies, settings.docs / PICTURE)
        sections.append(f"![Fronts of accuracy against size and latency]({PICTURE})")
        sections.append("The lines in grey: the float model, and a point below it (dashed).")
    for net in nets:
        sections += [f"## {net.name}, {net.epochs:g} epochs", _told_of_cuts(net)]
        sections.append(table(cells[net.name], latencies[net.name]))
        timed = latencies[net.name]
        if timed:
            sections.append("\n".join(f"- {goal}" for goal in goals(cells[net.name], timed)))
    page = "\n\n".join(sections) + "\n"
    settings.docs.mkdir(parents=True, exist_ok=True)
    (settings.docs / PAGE).write_text(page, encoding="utf-8")
    return page


def _introduction(nets: Sequence[Net]) -> str:
    """What the tables show, and how it came about."""
    owners = [row.owner for row in rows(nets[0])]
    title, told = _INTRODUCTION.format(
        cut_rates=" and ".join(f"{net.cut_rate:g} ({net.name})" for net in nets),
        zeros=" and ".join(f"{percent(net.zeros)} ({net.name})" for net in nets),
        same=percent(SAME_LATENCY - 1),
        ours=owners.count("tfopt"),
        theirs=owners.count("TF-MOT"),
    ).split("\n\n")
    return f"{title}\n\n{textwrap.fill(told, 100)}"


def _told_of_cuts(net: Net) -> str:
    """What the rows mean by few and many channels."""
    found = []
    names = ("Few channels off", "channels off", "many channels off")
    for name, (macs, branches) in zip(names, net.cuts, strict=True):
        what = [f"the branch of {' and '.join(net.dispensable)}"] * branches
        what += [f"{percent(macs)} of the MACs"] * bool(macs)
        found.append(f"*{name}* is without {', then '.join(what)}")
    return textwrap.fill(f"{'; '.join(found)}.", 100)


def draw(
    nets: Sequence[Net],
    cells: Mapping[str, Sequence[Cell]],
    latencies: Mapping[str, Latencies | None],
    file: Path,
) -> None:
    """Draws the fronts: a line for each net, a column for each thing that is to be small."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "tfopt", "svg.fonttype": "none", "font.size": 8})
    panels = {net.name: _panels(latencies[net.name]) for net in nets}
    columns = max(map(len, panels.values()))
    figure, axes = pyplot.subplots(
        len(nets),
        columns,
        figsize=(4.2 * columns, 3.2 * len(nets)),
        squeeze=False,
        layout="constrained",
    )
    for line, net in zip(axes, nets, strict=True):
        for panel, (title, measure) in zip(line, panels[net.name].items(), strict=True):
            _panel(panel, cells[net.name], measure)
            panel.set_title(net.name)
            panel.set_xlabel(title)
        line[0].set_ylabel("test accuracy")
    marks = axes[0][0].get_legend_handles_labels()
    figure.legend(*marks, loc="outside upper center", ncols=3, frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _panels(latencies: Latencies | None) -> dict[str, Measure]:
    """What accuracy is drawn against."""
    found: dict[str, Measure] = {"deflated kB": lambda cell: cell.deflated / 1000}
    for name, timed in (latencies.all if latencies else {}).items():
        found[f"{name}, ms"] = median(timed)
    return found


def _panel(panel: Any, cells: Sequence[Cell], measure: Measure) -> None:
    """All cells as points, the front of each owner as steps, and what may be lost as a line."""
    there = [cell for cell in cells if cell.accuracy is not None and cell.name != FLOAT]
    whole = next((cell for cell in cells if cell.name == FLOAT), None)
    for owner, colour in _COLOURS.items():
        own = [cell for cell in there if cell.owner == owner]
        points = [(measure(cell), cell.score) for cell in own]
        label = owner or "TensorFlow's converter"
        panel.scatter(*zip(*points, strict=True), s=12, color=colour, label=label) if points else 0
        if owner and own:
            steps = [(measure(cell), cell.score) for cell in front(own, measure)]
            panel.step(*zip(*steps, strict=True), where="post", color=colour, linewidth=1)
    if whole is not None:
        panel.axhline(whole.score, color="#999999", linewidth=0.8)
        panel.axhline(whole.score - MOST_LOST, color="#999999", linewidth=0.8, linestyle="--")
        scores = [cell.score for cell in there]
        panel.set_ylim(
            max(min(scores), whole.score - 0.12) - 0.005, max(*scores, whole.score) + 0.01
        )
