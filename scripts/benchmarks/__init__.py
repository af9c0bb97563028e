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
    """

    rounds: int = 9
    smoke: bool = False
    cache: Path = Path(".cache/benchmarks")
    data_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """What a suite measured.

    Args:
        markdown: Its tables.
        missed: The goals it missed, one sentence each.
    """

    markdown: str
    missed: tuple[str, ...]
