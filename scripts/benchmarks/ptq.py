"""Post-training quantization: tfopt against its peers, each technique alone, at three numerics.

Two nets trained by the recipe, and a stressed version of each: the channels' ranges rescaled by
2^U(-5,5), the float function as it was. Cells are made in a process apart, since some peers crash,
and kept in the cache: a run that was stopped goes on where it was. A cell whose process died or
took too long is made again in the next run; those of an older version of tfopt stay as they are
until the cache is deleted.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import tfopt
from benchmarks import BenchmarkReport, Settings, ptq_ways
from benchmarks.cells import Apart, GoneError, baselines, kept, plain, said
from benchmarks.ptq_ways import CONVERTER, DEFAULT, Way
from tfopt.files import write_file
from tfopt.measure.cost import benchmark_interleaved
from tfopt.tables import markdown_table

NETS = ("resnet8", "resnet8 stressed", "depthwise", "depthwise stressed")
EPOCHS = {"resnet8": 30.0, "depthwise": 24.0}
FLOAT = "float32"
PAGE = "post_training.md"
_SMOKE_NETS = ("digits stressed",)
_LONGEST = 180  # characters of an error in the table
_INTRODUCTION = """\
# Post-training quantization, beside its peers

Written by `scripts/benchmark.py --suite=ptq`. Two nets of the recipes, trained on CIFAR-10, and
each *stressed*: its channels' ranges rescaled by 2^U(-5,5), the float function as it was. 256
images calibrate, nothing is trained; accuracies are of all 10,000 test images. `tfopt` is what
comes out with no flag to know; its techniques stand below it, each alone, and `as it is` the
conversion without any. Latencies are of one image on one thread, of all files in turns; seconds are
those the file took, most of them while the machine was busy."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one way made of one net.

    Args:
        way: Its name.
        numerics: What it was made for.
        peer: Whether it is none of tfopt's.
        accuracy: On all test images; None if no file came out.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        bytes: Size of the file.
        seconds: How long it took to make.
        integer_only: Whether it computes in integers only.
        error: Why no file came out.
    """

    way: str
    numerics: str
    peer: bool
    accuracy: float | None = None
    low: float = 0.0
    high: float = 0.0
    bytes: int = 0
    seconds: float = 0.0
    integer_only: bool = False
    error: str = ""


def run(settings: Settings) -> BenchmarkReport:
    """Makes and measures every cell that is not there yet, and writes the tables."""
    sections: list[str] = []
    missed: list[str] = []
    nets = _SMOKE_NETS if settings.smoke else NETS
    ways = [_float_way(), *ptq_ways.ways()]
    if settings.smoke:
        ways = [
            w for w in ways if w.name in (FLOAT, CONVERTER, DEFAULT) and w.numerics != "int16x8"
        ]
    cells: dict[str, list[Cell]] = {net: [] for net in nets}
    with Apart() as apart:
        # 16-bit activations run in kernels that are 20 times slower: last
        for way in sorted(ways, key=lambda way: way.numerics == "int16x8"):
            for net in nets:
                cells[net].append(_cell(net, way, settings, apart))
    for net in nets:
        sections.append(_table(net, cells[net], _latencies(net, cells[net], settings)))
        missed += _missed(net, cells[net])
    goals = "\n".join(f"- {goal}" for goal in missed) or "none."
    page = "\n\n".join([_INTRODUCTION, *sections, f"Goals that were missed:\n\n{goals}"]) + "\n"
    write_file(settings.docs / PAGE, page)
    return BenchmarkReport(page, tuple(missed))


def _float_way() -> Way:
    return Way(FLOAT, FLOAT, ptq_ways.float_file)


def _cell(net: str, way: Way, settings: Settings, apart: Apart) -> Cell:
    """A cell out of the cache, or made now."""

    def make() -> Cell:
        try:
            cell = apart.call(_make, net, way.name, way.numerics, settings)
        except GoneError:
            raise
        except Exception as error:  # a peer's: anything can come out of it
            cell = Cell(way.name, way.numerics, way.is_peer, error=said(error))
        print(f"{net}: {way.numerics} {way.name}: {cell.accuracy} {cell.error}", file=sys.stderr)
        return cell

    file = _place(net, way.name, way.numerics, settings).with_suffix(".json")
    try:
        return kept(file, Cell, make)
    except GoneError as error:
        print(f"{net}: {way.numerics} {way.name}: {error}", file=sys.stderr)
        return Cell(way.name, way.numerics, way.is_peer, error=said(error))


def _make(net: str, name: str, numerics: str, settings: Settings) -> Cell:
    """Makes and measures one file: in a process of its own."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    way = next(
        way
        for way in (_float_way(), *ptq_ways.ways())
        if (way.name, way.numerics) == (name, numerics)
    )
    task, model = _subject(net, settings)
    start = time.perf_counter()
    tflite = way.make(model, task)
    seconds = time.perf_counter() - start
    quality = tfopt.evaluate(tflite, task=task)
    _place(net, name, numerics, settings).with_suffix(".tflite").write_bytes(tflite)
    return Cell(
        name,
        numerics,
        way.is_peer,
        quality.value,
        quality.low,
        quality.high,
        len(tflite),
        seconds,
        tfopt.inspect(tflite).integer_only,
    )


@functools.lru_cache
def _subject(net: str, settings: Settings) -> tuple[tfopt.Task, Any]:
    """The task and the trained model of a net."""
    from tfopt.testing import depthwise_net, stress
    from tfopt.training import fine_tune

    architecture, *stressed = net.split()
    if architecture == "digits":
        task = tfopt.Task.digits()
        model = depthwise_net()
        fine_tune(model, task, epochs=2, learning_rate=5e-3)
    else:
        task = tfopt.Task.from_tfds("cifar10", data_dir=settings.data_dir, batch_size=64)
        model = baselines().load_or_train(
            task,
            epochs=EPOCHS[architecture],
            cache=settings.cache / "baselines",
            architecture=architecture,
        )
    return task, stress(model) if stressed else model


def _place(net: str, name: str, numerics: str, settings: Settings) -> Path:
    """Where a cell is kept, without a suffix."""
    return settings.cache / "ptq" / net.replace(" ", "_") / f"{numerics}-{plain(name)}"


def _latencies(net: str, cells: list[Cell], settings: Settings) -> dict[tuple[str, str], float]:
    """Median milliseconds of one image on one thread, of all files in turns."""
    shown = [cell for cell in cells if cell.accuracy is not None]
    places = [_place(net, cell.way, cell.numerics, settings) for cell in shown]
    files = [place.with_suffix(".tflite").read_bytes() for place in places]
    measured = benchmark_interleaved(files)
    return {
        (cell.way, cell.numerics): latency.median_ms
        for cell, latency in zip(shown, measured, strict=True)
    }


def _table(net: str, cells: list[Cell], latencies: dict[tuple[str, str], float]) -> str:
    """Markdown of a net's cells."""
    header = ["numerics", "way", "test accuracy (95 % interval)", "bytes", "latency ms"]
    header += ["seconds", "integer only"]
    rows = []
    for cell in sorted(
        cells, key=lambda c: ("float32", "int8", "int16x8", "int4").index(c.numerics)
    ):
        latency = latencies.get((cell.way, cell.numerics))
        if cell.accuracy is None:
            why = textwrap.shorten(cell.error, _LONGEST, placeholder=" ...")
            rows.append([cell.numerics, cell.way, f"no file: {why}", "", "", "", ""])
            continue
        rows.append(
            [
                cell.numerics,
                cell.way,
                f"{cell.accuracy:.2%} ({cell.low:.2%} to {cell.high:.2%})",
                f"{cell.bytes:,}",
                "" if latency is None else f"{latency:.3f}",
                f"{cell.seconds:.0f}",
                "yes" if cell.integer_only else "no",
            ]
        )
    return f"### {net}\n\n{markdown_table(header, rows)}"


def _missed(net: str, cells: list[Cell]) -> list[str]:
    """The goals that were missed."""
    find = functools.partial(_find, cells)
    whole = find(FLOAT, FLOAT)
    eight, four = find(DEFAULT, "int8"), find(DEFAULT, "int4")
    stock = find(CONVERTER, "int8")
    peers = [c.accuracy or 0.0 for c in cells if c.peer and c.numerics == "int4" and c.integer_only]
    goals = {
        "int8 within 0.2 points of float": eight >= whole - 0.002,
        "int8 never below the plain converter": eight >= stock,
        "int4 within 1 point of float": four >= whole - 0.01,
        "int4 2 points above the best peer": four >= max(peers, default=0.0) + 0.02,
    }
    return [f"{net}: {goal}" for goal, kept in goals.items() if not kept]


def _find(cells: list[Cell], way: str, numerics: str) -> float:
    """A cell's accuracy, 0 if no file came out."""
    return next(c.accuracy or 0.0 for c in cells if (c.way, c.numerics) == (way, numerics))
