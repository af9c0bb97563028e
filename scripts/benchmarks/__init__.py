"""The suites of `scripts/benchmark.py`, a module with a `run(settings)` each."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a suite is to be run.

    Args:
        rounds: How often latencies and speeds are measured, in turns.
        smoke: Only show that the suite works, on little data.
        cache: Directory of trained baselines and of what was measured already.
        data_dir: Where TFDS sets are prepared; None for their own place.
        quick: The same on a smaller net and data set.
        only: A pattern of the cells to make in this run, such as `resnet8/*`.
        part_minutes: No cell is begun after so many minutes; None for no end.
        docs: Directory to write a page and its pictures to.
    """

    rounds: int = 9
    smoke: bool = False
    cache: Path = Path(".cache/benchmarks")
    data_dir: str | None = None
    quick: bool = False
    only: str = "*"
    part_minutes: float | None = None
    docs: Path = Path(".cache/benchmarks/docs")


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """What a suite measured.

    Args:
        markdown: Its tables.
        missed: The goals it missed, one sentence each.
        left: The cells that are left for another run.
    """

    markdown: str
    missed: tuple[str, ...]
    left: tuple[str, ...] = ()
