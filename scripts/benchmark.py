"""Measures tfopt against its goals, on this machine, and says which ones are missed.

A suite prints its tables as Markdown, and the exit code is 1 if it misses a goal.

    python scripts/benchmark.py --suite=evaluation
"""

from __future__ import annotations

import importlib
import sys

from absl import app, flags

_SUITES = ("evaluation",)

_SUITE = flags.DEFINE_enum("suite", "evaluation", _SUITES, "Which goals to measure.")
_ROUNDS = flags.DEFINE_integer(
    "rounds", 9, "How often everything is measured, in turns.", lower_bound=1
)
_SMOKE = flags.DEFINE_boolean(
    "smoke", False, "Only show that the suite works, on little data; no goal is judged."
)


def main(_: list[str]) -> int:
    """Runs the suite; 1 if it misses a goal."""
    suite = importlib.import_module(f"benchmarks.{_SUITE.value}")
    report = suite.run(rounds=_ROUNDS.value, smoke=_SMOKE.value)
    print(report.markdown)
    for missed in report.missed:
        print(f"Missed: {missed}", file=sys.stderr)
    return 1 if report.missed and not _SMOKE.value else 0


if __name__ == "__main__":
    app.run(main)
