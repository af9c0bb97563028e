"""Measures tfopt against its goals, on this machine, and says which ones are missed.

A suite prints its tables as Markdown, and the exit code is 1 if it misses a goal.

    python scripts/benchmark.py --suite=evaluation
    python scripts/benchmark.py --suite=ptq --data_dir=...
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from absl import app, flags
from benchmarks import Settings

_SUITES = ("evaluation", "ptq")

_SUITE = flags.DEFINE_enum("suite", "evaluation", _SUITES, "Which goals to measure.")
_ROUNDS = flags.DEFINE_integer(
    "rounds", 9, "How often everything is measured, in turns.", lower_bound=1
)
_SMOKE = flags.DEFINE_boolean(
    "smoke", False, "Only show that the suite works, on little data; no goal is judged."
)
_CACHE = flags.DEFINE_string(
    "cache", ".cache/benchmarks", "Trained baselines, and results: what is there is not done again."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS sets are prepared.")


def main(_: list[str]) -> int:
    """Runs the suite; 1 if it misses a goal."""
    suite = importlib.import_module(f"benchmarks.{_SUITE.value}")
    settings = Settings(_ROUNDS.value, _SMOKE.value, Path(_CACHE.value), _DATA_DIR.value)
    report = suite.run(settings)
    print(report.markdown)
    for missed in report.missed:
        print(f"Missed: {missed}", file=sys.stderr)
    return 1 if report.missed and not _SMOKE.value else 0


if __name__ == "__main__":
    app.run(main)
