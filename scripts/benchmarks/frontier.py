"""Accuracy against size and speed, after training a little longer: tfopt's chains and TF-MOT.

Every row starts from the same trained baseline and trains for as many epochs. Each training and
each file is made in a process apart and kept: a run that was stopped goes on where it was. What
died or took too long is made again in the next run; cells of an older version of tfopt stay as
they are until the cache is deleted.
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
from benchmarks.cells import Apart, GoneError, baselines, kept, plain, said
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
            bench = _Bench(net, settings)
            made = _Rows(bench, apart, part).cells()
            cells[net.name] = [cell for cell in made if cell is not None]
            latencies[net.name] = None if None in made else _latencies(bench, part)
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


class _Rows:
    """The cells of a net: out of the cache, or made now in the process apart."""

    def __init__(self, bench: _Bench, apart: Apart, part: _Part) -> None:
        self._bench = bench
        self._apart = apart
        self._part = part
        self._baseline_is_there = False

    def cells(self) -> list[Cell | None]:
        """A cell for each row; None for one that is left for another run."""
        return [self._cell(row) for row in self._bench.rows]

    def _cell(self, row: Row) -> Cell | None:
        try:
            return self._kept(row)
        except GoneError as error:
            _tell(f"{self._name(row)}: {error}")
            self._part.left.append(self._name(row))
            return Cell(row.name, row.owner, row.epochs, error=said(error))

    def _kept(self, row: Row) -> Cell | None:
        seconds = 0.0
        for number in range(len(row.steps)):
            file = self._bench.model_file(row, number + 1).with_suffix(".json")
            if not (file.exists() or self._begins(row)):
                return None
            training = kept(file, Training, functools.partial(self._trained, row, number))
            if training.error:
                return Cell(row.name, row.owner, row.epochs, error=training.error)
            seconds += training.seconds
        file = self._bench.file(row).with_suffix(".json")
        if not (file.exists() or self._begins(row)):
            return None
        return kept(file, Cell, functools.partial(self._made, row, seconds))

    def _begins(self, row: Row) -> bool:
        """Whether something of a row is to be made now, from a baseline that is trained."""
        name = self._name(row)
        if not self._part.takes(name):
            return False
        if not self._baseline_is_there:
            minutes = self._part.minutes
            self._baseline_is_there = self._apart.call(self._bench.train_baseline, minutes)
        if not self._baseline_is_there:
            self._part.left.append(name)
        return self._baseline_is_there

    def _trained(self, row: Row, number: int) -> Training:
        try:
            training = self._apart.call(self._bench.train, row.name, number)
        except GoneError:
            raise
        except Exception as error:  # a peer's: anything can come out of it
            training = Training(error=said(error))
        told = training.error or f"{training.seconds:.0f} s"
        _tell(f"{self._name(row)}: step {number + 1} of {len(row.steps)}: {told}")
        return training

    def _made(self, row: Row, seconds: float) -> Cell:
        try:
            cell = self._apart.call(self._bench.make, row.name, seconds)
        except GoneError:
            raise
        except Exception as error:  # likewise
            cell = Cell(row.name, row.owner, row.epochs, error=said(error))
        _tell(f"{self._name(row)}: {cell.error or f'{cell.validation:.4f} on the validation data'}")
        return cell

    def _name(self, row: Row) -> str:
        return f"{self._bench.net.name}/{row.name}"


@dataclasses.dataclass(frozen=True)
class _Bench:
    """What is done for the rows of a net in the process apart, and where its results are kept.

    Args:
        net: The net.
        settings: How the suite is run.
    """

    net: Net
    settings: Settings

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows of this run."""
        return smoke_rows(self.net) if self.settings.smoke else rows(self.net)

    @property
    def folder(self) -> Path:
        """Where everything of the net is kept."""
        return self.settings.cache / "frontier" / self.net.name

    def file(self, row: Row) -> Path:
        """Where a row's cell and file are kept, without a suffix."""
        return self.folder / f"{plain(row.name)}-{row.key(self.net)}"

    def model_file(self, row: Row, steps: int) -> Path:
        """Where the model after so many steps of a row is kept, without a suffix."""
        return self.folder / "steps" / row.key(self.net, steps)

    def train_baseline(self, minutes: float | None) -> bool:
        """Whether the baseline is there, after that many minutes of training."""
        task = self.net.task(self.settings.data_dir)
        try:
            self.net.baseline(task, self.settings.cache / "baselines", minutes)
        except baselines().UnfinishedError as error:
            _tell(f"{self.net.name}: {error} of the baseline")
            return False
        return True

    def train(self, name: str, number: int) -> Training:
        """Trains a step of a row on what the steps before it have left."""
        task, row = self._task(), self._row(name)
        model = self._model(row, number)
        start = time.perf_counter()
        trained = row.steps[number].apply(model, task)
        seconds = time.perf_counter() - start
        file = self.model_file(row, number + 1).with_suffix(".h5")
        file.parent.mkdir(parents=True, exist_ok=True)
        tfopt.save_model(trained, file)
        return Training(seconds)

    def make(self, name: str, seconds: float) -> Cell:
        """Makes the file of a row that was trained for some seconds, and measures it."""
        task, row = self._task(), self._row(name)
        model = self._model(row, len(row.steps))
        start = time.perf_counter()
        tflite = row.export.apply(model, task)
        seconds += time.perf_counter() - start
        file = self.file(row).with_suffix(".tflite")
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

    def _row(self, name: str) -> Row:
        return next(row for row in rows(self.net) if row.name == name)

    def _task(self) -> tfopt.Task:
        """The task as rows are trained on it; the baseline teaches."""
        logging.getLogger("absl").setLevel(logging.ERROR)
        return _taught_task(self.net, self.settings)

    def _model(self, row: Row, steps: int) -> Any:
        """The model after so many steps of a row."""
        if not steps:
            return self._task().teacher
        return tfopt.load_model(self.model_file(row, steps).with_suffix(".h5"))


@functools.lru_cache
def _taught_task(net: Net, settings: Settings) -> tfopt.Task:
    """The task whose teacher is the baseline, loaded once in a process."""
    task = net.task(settings.data_dir)
    baseline = net.baseline(task, settings.cache / "baselines")
    return dataclasses.replace(net.augmented(task), teacher=baseline)


def _latencies(bench: _Bench, part: _Part) -> Latencies | None:
    """Of all files in turns; anew if there are others than last time, or if asked for."""
    paths = {row.name: bench.file(row).with_suffix(".tflite") for row in bench.rows}
    files = {name: str(path) for name, path in paths.items() if path.exists()}
    record = bench.folder / f"{LATENCY}.json"
    there: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {"files": None}
    name = f"{bench.net.name}/{LATENCY}"
    asked = bench.settings.only != "*" and fnmatch.fnmatch(name, bench.settings.only)
    if there["files"] != files or asked:
        if not part.takes(name):
            return None
        without = _timed(files, tiles=False) if matrix_tiles.are_there() else None
        there = {"files": files, "plain": _timed(files, tiles=True), "without_tiles": without}
        there["tfopt"] = tfopt.__version__
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
