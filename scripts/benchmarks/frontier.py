"""Accuracy against size and speed, after training a little longer: tfopt's chains and TF-MOT.

Every row starts from the same trained baseline and trains for as many epochs. Each training and
each file is made in a process apart and kept: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import tfopt
from benchmarks import BenchmarkReport, Settings, frontier_page, matrix_tiles
from benchmarks.cells import Apart, baselines, kept, plain, said
from benchmarks.frontier_rows import NETS, QUICK_NETS, SMOKE_NETS, Net, Row, rows, smoke_rows
from benchmarks.frontier_table import Cell, Latencies, goals

LATENCY = "latency"
# Many times what a training takes on a quiet machine: what takes longer hangs.
_LIMIT_S = 3 * 3600.0


@dataclasses.dataclass(frozen=True)
class Training:
    """What is kept beside a trained model.

    Args:
        seconds: How long it took.
        error: Why there is no model.
    """

    seconds: float = 0.0
    error: str = ""


def run(settings: Settings) -> BenchmarkReport:
    """Makes what is not there yet, as far as the time goes; times all files; writes the page."""
    nets = SMOKE_NETS if settings.smoke else QUICK_NETS if settings.quick else NETS
    part = _Part(settings)
    cells: dict[str, list[Cell]] = {}
    latencies: dict[str, Latencies | None] = {}
    with Apart(_LIMIT_S) as apart:
        for net in nets:
            made = [_cell(net, row, settings, apart, part) for row in _rows(net, settings)]
            cells[net.name] = [cell for cell in made if cell is not None]
            whole = len(cells[net.name]) == len(made)
            latencies[net.name] = _latencies(net, settings, part) if whole else None
    page = frontier_page.write(nets, cells, latencies, settings)
    missed = [
        f"{net.name}: {goal.text}. {goal.told}"
        for net in nets
        if (timed := latencies[net.name])
        for goal in goals(cells[net.name], timed)
        if not goal.met
    ]
    return BenchmarkReport(page, tuple(missed), tuple(part.left))


class _Part:
    """What is to be done in this run, and what is left for the next."""

    def __init__(self, settings: Settings) -> None:
        minutes = settings.part_minutes
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self._only = settings.only
        self.left: list[str] = []
        self.trained: set[str] = set()
        """The nets whose baselines are known to be there."""

    @property
    def minutes(self) -> float | None:
        """How many there are left; None for no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic()) / 60

    def takes(self, name: str) -> bool:
        """Whether something is to be begun; what there is no time for is left."""
        begins = fnmatch.fnmatch(name, self._only)
        if begins and (self._end is None or time.monotonic() < self._end):
            return True
        self.left.append(name)
        return False


def _rows(net: Net, settings: Settings) -> tuple[Row, ...]:
    return smoke_rows(net) if settings.smoke else rows(net)


def _cell(net: Net, row: Row, settings: Settings, apart: Apart, part: _Part) -> Cell | None:
    """A cell out of the cache, or made now; None if it is left for another run."""
    file = _place(net, row, settings).with_suffix(".json")
    name = f"{net.name}/{row.name}"
    seconds = 0.0
    for number in range(len(row.steps)):
        trained = _trained(net, row, number + 1, settings).with_suffix(".json")
        if not trained.exists() and not _begins(name, net, settings, apart, part):
            return None
        make_step = functools.partial(_step, net, row, number, settings, apart)
        training = kept(trained, Training, make_step)
        if training.error:
            return Cell(row.name, row.owner, row.epochs, error=training.error)
        seconds += training.seconds
    if not file.exists() and not _begins(name, net, settings, apart, part):
        return None

    def make() -> Cell:
        try:
            cell = apart.call(_make, net, row.name, seconds, settings)
        except Exception as error:  # a peer's: anything can come out of it, or its process dies
            cell = Cell(row.name, row.owner, row.epochs, error=said(error))
        _tell(f"{name}: {cell.error or f'{cell.validation:.4f} on the validation data'}")
        return cell

    return kept(file, Cell, make)


def _begins(name: str, net: Net, settings: Settings, apart: Apart, part: _Part) -> bool:
    """Whether something of a row is to be made now, from a baseline that is trained."""
    if not part.takes(name):
        return False
    if net.name not in part.trained:
        if not apart.call(_train_baseline, net, settings, part.minutes):
            part.left.append(name)
            return False
        part.trained.add(net.name)
    return True


def _train_baseline(net: Net, settings: Settings, minutes: float | None) -> bool:
    """Whether the baseline is there, after that many minutes of training."""
    task = net.task(settings.data_dir)
    try:
        net.baseline(task, settings.cache / "baselines", minutes)
    except baselines().UnfinishedError as error:
        _tell(f"{net.name}: {error} of the baseline")
        return False
    return True


def _step(net: Net, row: Row, number: int, settings: Settings, apart: Apart) -> Training:
    """Trains a step of a row in the process apart."""
    try:
        training = apart.call(_train, net, row.name, number, settings)
    except Exception as error:  # likewise
        training = Training(error=said(error))
    told = training.error or f"{training.seconds:.0f} s"
    _tell(f"{net.name}/{row.name}: step {number + 1} of {len(row.steps)}: {told}")
    return training


def _train(net: Net, name: str, number: int, settings: Settings) -> Training:
    """Trains a step of a row on what the steps before it have left."""
    task, baseline, row = _subject(net, name, settings)
    model = _model(net, row, number, settings, baseline)
    start = time.perf_counter()
    trained = row.steps[number].apply(model, task)
    seconds = time.perf_counter() - start
    file = _trained(net, row, number + 1, settings).with_suffix(".h5")
    file.parent.mkdir(parents=True, exist_ok=True)
    tfopt.save_model(trained, file)
    return Training(seconds)


def _make(net: Net, name: str, seconds: float, settings: Settings) -> Cell:
    """Makes the file of a row, and measures it."""
    task, baseline, row = _subject(net, name, settings)
    model = _model(net, row, len(row.steps), settings, baseline)
    start = time.perf_counter()
    tflite = row.export.apply(model, task)
    seconds += time.perf_counter() - start
    file = _place(net, row, settings).with_suffix(".tflite")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(tflite)
    quality, known = tfopt.evaluate(tflite, task=task), tfopt.inspect(tflite)
    return Cell(
        row.name,
        row.owner,
        row.epochs,
        validation=tfopt.evaluate(tflite, task=task, split="validation").value,
        accuracy=quality.value,
        low=quality.low,
        high=quality.high,
        bytes=known.bytes,
        deflated=known.deflated_bytes,
        macs=known.macs,
        seconds=seconds,
        integer_only=known.integer_only,
    )


def _subject(net: Net, name: str, settings: Settings) -> tuple[tfopt.Task, Any, Row]:
    """The task, the baseline, and the row of a name."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    task, baseline = _loaded(net, settings)
    return task, baseline, next(row for row in rows(net) if row.name == name)


@functools.lru_cache
def _loaded(net: Net, settings: Settings) -> tuple[tfopt.Task, Any]:
    task = net.task(settings.data_dir)
    baseline = net.baseline(task, settings.cache / "baselines")
    return dataclasses.replace(net.augmented(task), teacher=baseline), baseline


def _model(net: Net, row: Row, steps: int, settings: Settings, baseline: Any) -> Any:
    """The model after so many steps of a row."""
    if not steps:
        return baseline
    return tfopt.load_model(_trained(net, row, steps, settings).with_suffix(".h5"))


def _place(net: Net, row: Row, settings: Settings) -> Path:
    """Where a row's cell and file are kept, without a suffix."""
    return settings.cache / "frontier" / net.name / f"{plain(row.name)}-{row.key(net)}"


def _trained(net: Net, row: Row, steps: int, settings: Settings) -> Path:
    """Where the model after so many steps of a row is kept, without a suffix."""
    return settings.cache / "frontier" / net.name / "steps" / row.key(net, steps)


def _latencies(net: Net, settings: Settings, part: _Part) -> Latencies | None:
    """Of all files in turns; anew if there are others than last time, or if asked for."""
    places = {row.name: _place(net, row, settings) for row in _rows(net, settings)}
    files = {
        name: str(place.with_suffix(".tflite"))
        for name, place in places.items()
        if place.with_suffix(".tflite").exists()
    }
    record = settings.cache / "frontier" / net.name / f"{LATENCY}.json"
    there: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {"files": None}
    name = f"{net.name}/{LATENCY}"
    asked = settings.only != "*" and fnmatch.fnmatch(name, settings.only)
    if there["files"] != files or asked:
        if not part.takes(name):
            return None
        without = _timed(files, tiles=False) if matrix_tiles.are_there() else None
        there = {"files": files, "plain": _timed(files, tiles=True), "without_tiles": without}
        record.write_text(json.dumps(there, indent=2))
    return Latencies(there["plain"], there["without_tiles"])


def _timed(files: dict[str, str], *, tiles: bool) -> dict[str, list[float]]:
    """Median and 90th percentile of each, in a process of its own."""
    with Apart() as apart:
        measured = apart.call(matrix_tiles.latencies, list(files.values()), tiles)
    return {
        name: [latency.median_ms, latency.p90_ms]
        for name, latency in zip(files, measured, strict=True)
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
