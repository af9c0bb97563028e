"""Measures tfopt against its goals, on this machine, and says which ones are missed.

A suite prints its tables as Markdown. The exit code is 1 if it misses a goal, and 2 if there was
no time for all of it: run it again, and it goes on where it was.

    python scripts/benchmark.py --suite=evaluation
    python scripts/benchmark.py --suite=ptq --data_dir=... --docs=docs
    python scripts/benchmark.py --suite=frontier --data_dir=... --docs=docs --part_minutes=3
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from absl import app, flags
from benchmarks import Settings

_SUITES = ("evaluation", "ptq", "frontier")

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
_QUICK = flags.DEFINE_boolean(
    "quick", False, "frontier: the same table on MNIST, in minutes; a missed goal is no failure."
)
_ONLY = flags.DEFINE_string("only", "*", "frontier: which cells to make, as net/row, a pattern.")
_PART_MINUTES = flags.DEFINE_float(
    "part_minutes",
    None,
    "frontier: begin nothing after so many minutes; what is begun by then takes up to six more.",
    lower_bound=0,
)
_DOCS = flags.DEFINE_string(
    "docs",
    ".cache/benchmarks/docs",
    "ptq, frontier: where the page is written to.",
)


def main(_: list[str]) -> int:
    """Runs the suite; 1 if it misses a goal."""
    suite = importlib.import_module(f"benchmarks.{_SUITE.value}")
    settings = Settings(
        _ROUNDS.value,
        _SMOKE.value,
        Path(_CACHE.value),
        _DATA_DIR.value,
        _QUICK.value,
        _ONLY.value,
        _PART_MINUTES.value,
        Path(_DOCS.value),
    )
    report = suite.run(settings)
    print(report.markdown)
    for missed in report.missed:
        print(f"Missed: {missed}", file=sys.stderr)
    if report.left:
        print(f"Left for another run: {', '.join(report.left)}", file=sys.stderr)
        return 2
    return 1 if report.missed and not (_SMOKE.value or _QUICK.value) else 0


if __name__ == "__main__":
    app.run(main)
