"""What suites of many cells share: each is made in a process apart, kept, and not made again.

Cells are kept under their settings alone, with the version of tfopt that made them: those of
another version, or of other code of the same, are shown until the cache is deleted.
"""

from __future__ import annotations

import concurrent.futures.process
import dataclasses
import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import Self

import tfopt

Record = TypeVar("Record")


class GoneError(Exception):
    """The process died or took too long, which may be the machine's fault: nothing to be kept."""


class Apart:
    """A process that makes cells, and is made anew when one kills it or takes too long.

    Args:
        limit_s: How many seconds a cell may take.
    """

    def __init__(self, limit_s: float = 1800.0) -> None:
        self._limit_s = limit_s

    def __enter__(self) -> Self:
        self._pool = self._new()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def call(self, function: Callable[..., Record], *arguments: Any) -> Record:
        """Calls a function in the process.

        Raises:
            GoneError: The process died, or took longer than the limit.
            Exception: What the function raised.
        """
        try:
            future = self._pool.submit(function, *arguments)
            if concurrent.futures.wait([future], self._limit_s).done:
                return future.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            self._pool = self._new()
            raise GoneError("the process died") from error
        for process in list(self._pool._processes.values()):
            process.kill()  # it would go on for ever
        self._pool = self._new()
        raise GoneError(f"the process took more than {self._limit_s:,.0f} s")

    @staticmethod
    def _new() -> concurrent.futures.ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return concurrent.futures.ProcessPoolExecutor(1, mp_context=context)


def kept(file: Path, kind: type[Record], make: Callable[[], Record]) -> Record:
    """A record (a dataclass of JSON values) out of its file, or made now and written there.

    Beside it the file tells the version of tfopt. What `make` raises is not kept.
    """
    if not file.exists():
        record = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        fields = dataclasses.asdict(record)  # type: ignore[call-overload]
        new.write_text(json.dumps(fields | {"tfopt": tfopt.__version__}, indent=2))
        new.rename(file)
    there = json.loads(file.read_text())
    there.pop("tfopt", None)
    return kind(**there)


def said(error: Exception) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def plain(name: str) -> str:
    """A name as one of a file."""
    return "".join(c if c.isalnum() else "_" for c in name)


def baselines() -> Any:
    """The recipes' module of baselines."""
    recipes = str(Path(__file__).parents[2] / "recipes")
    if recipes not in sys.path:
        sys.path.insert(0, recipes)
    import baselines

    return baselines
