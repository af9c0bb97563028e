"""Runs workers: some at a time, each for some rows, ended when a cell takes too long."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coverage_parts import Cell, RowFile, Status
from coverage_parts.judging import shortened
from coverage_parts.rows import Row

_FINE = ("ok", "partial")
_LATE = "no answer in"
_POLL_S = 0.5
_STARTING_S = 180.0  # a process that imports TensorFlow has written nothing yet


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to fill the table.

    Args:
        output: The directory of all results.
        columns: What to do to each model.
        jobs: How many processes at a time; heavy models run alone.
        rows_per_process: How many small models a process takes before it is replaced.
        time_limit_s: For one cell.
        memory_gb: For one process.
    """

    output: Path
    columns: tuple[str, ...]
    jobs: int
    rows_per_process: int
    time_limit_s: float
    memory_gb: float


def fill_table(rows: Sequence[Row], plan: Plan) -> None:
    """Fills the cells that are missing, and returns when all are there."""
    light = [row for row in rows if not row.heavy]
    several = [row for row in light if row.group == "zoo"]
    alone = [row for row in light if row.group != "zoo"]
    size = plan.rows_per_process
    chunks = [several[i : i + size] for i in range(0, len(several), size)]
    _run_all(chunks + [[row] for row in alone], plan, plan.jobs)
    _run_all([[row] for row in rows if row.heavy], plan, 1)


def _run_all(chunks: list[list[Row]], plan: Plan, jobs: int) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for done in [pool.submit(_run, chunk, plan, stop) for chunk in chunks]:
                done.result()
        except BaseException:  # interrupted: workers do not hear of it by themselves
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _run(chunk: list[Row], plan: Plan, stop: threading.Event) -> None:
    """Starts a worker, and another one after a crash, until the rows are full."""
    while left := [row for row in chunk if _missing(row, plan)]:
        files = [RowFile(plan.output, row.name) for row in left]
        for file in files:
            file.forget([])  # what an interrupted worker had begun
        how = _worker(left, plan, stop)
        if stop.is_set():
            return
        print(_progress(left, plan), flush=True)
        if how is None:
            continue
        broken = [RowFile(plan.output, row.name) for row in left]
        begun = [(file, file.running) for file in broken if file.running is not None]
        if not begun:
            raise SystemExit(f"A worker ended before its first cell: {how}")
        status: Status = "late" if how.startswith(_LATE) else "crashed"
        begun[0][0].finish(begun[0][1], Cell(status, shortened(how), how))


def _missing(row: Row, plan: Plan) -> bool:
    return not set(plan.columns) <= set(RowFile(plan.output, row.name).cells)


def _worker(rows: list[Row], plan: Plan, stop: threading.Event) -> str | None:
    """Runs a worker to its end; returns how it ended, None if well."""
    plan.output.mkdir(parents=True, exist_ok=True)
    log = plan.output / f"worker_{threading.get_ident()}.log"
    command = [sys.executable, "-m", "coverage_parts.worker", str(plan.output)]
    command += [str(plan.memory_gb), ",".join(plan.columns), *(row.name for row in rows)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with log.open("wb") as printed:
        process = subprocess.Popen(
            command,
            stdout=printed,
            stderr=printed,
            env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
            start_new_session=True,
        )
        late = _wait(process, rows, plan, stop)
    if late:
        return late
    if process.returncode == 0:
        log.unlink()
        return None
    last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-3:]
    code = process.returncode
    return " ".join([signal.Signals(-code).name if code < 0 else f"exit code {code}:", *last])


def _wait(
    process: subprocess.Popen[bytes], rows: list[Row], plan: Plan, stop: threading.Event
) -> str | None:
    """Waits for a worker; ends it if its last cell is too long ago, or all is to stop."""
    started = time.time()
    while process.poll() is None:
        time.sleep(_POLL_S)
        files = [plan.output / f"{row.name}.json" for row in rows]
        last = max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
        latest = max(last, started + _STARTING_S if last < started else 0.0)
        if stop.is_set() or time.time() - latest > plan.time_limit_s:
            _end(process)
            return f"{_LATE} {plan.time_limit_s:g} s"
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a worker with the processes it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _progress(rows: list[Row], plan: Plan) -> str:
    lines = []
    for row in rows:
        cells = RowFile(plan.output, row.name).cells
        wrong = [f"{name}: {c.note}" for name, c in cells.items() if c.status not in _FINE]
        if set(plan.columns) <= set(cells):
            lines.append(f"{row.name}: {'; '.join(wrong) or 'ok'}")
    return "\n".join(lines)
