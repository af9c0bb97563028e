"""What suites of many cells share: each is made in a process apart, kept, and not made again."""

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

Record = TypeVar("Record")


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
        """Calls a function in the process; raises what it raises, or that the process is gone."""
        try:
            return self._pool.submit(function, *arguments).result(self._limit_s)
        except concurrent.futures.process.BrokenProcessPool:
            self._pool = self._new()
            raise
        except TimeoutError:
            for process in list(self._pool._processes.values()):
                process.kill()  # it would go on for ever
            self._pool = self._new()
            raise

    @staticmethod
    def _new() -> concurrent.futures.ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return concurrent.futures.ProcessPoolExecutor(1, mp_context=context)


def kept(file: Path, kind: type[Record], make: Callable[[], Record]) -> Record:
    """A record (a dataclass of JSON values) out of its file, or made now and written there."""
    if not file.exists():
        record = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(dataclasses.asdict(record), indent=2))  # type: ignore[call-overload]
        new.rename(file)
    return kind(**json.loads(file.read_text()))


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
