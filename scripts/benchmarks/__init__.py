"""The suites of `scripts/benchmark.py`, a module with a `run(*, rounds, smoke)` each."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """What a suite measured.

    Args:
        markdown: Its tables.
        missed: The goals it missed, one sentence each.
    """

    markdown: str
    missed: tuple[str, ...]
