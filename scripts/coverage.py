"""Shows which model each technique and conversion works on: a table, TF-MOT alone beside it.

Each model is measured in a process of its own, so that a crash is a cell of the table. What is
measured is stored, and not measured again: the command goes on where it was stopped.

    python scripts/coverage.py --jobs=2 --only='zoo/*'
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

from absl import app, flags
from coverage_parts import RowFile, jobs, table
from coverage_parts.rows import Row, all_rows

from tfopt.files import write_file

OURS = (
    *("load", "from file", "prune", "cluster", "QAT"),
    *("float32", "int8", "QAT int8", "int16x8", "save"),
)
THEIRS = ("TF-MOT prune", "TF-MOT cluster", "TF-MOT QAT", "converter int8")
FAST = ("zoo/tf_keras/logits", "zoo/keras/regression", "zoo/keras/subclassed_untraceable")

_OUTPUT = flags.DEFINE_string("output", "out/coverage", "Where results are stored, one file each.")
_TABLE = flags.DEFINE_string("table", "docs/coverage.md", "The Markdown page to write.")
_ONLY = flags.DEFINE_string("only", "*", "Models to measure: group/keras/model, with * and ?.")
_COLUMNS = flags.DEFINE_list("columns", [*OURS, *THEIRS], "What to measure.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Processes at a time.", lower_bound=1)
_ROWS = flags.DEFINE_integer(
    "rows_per_process", 1, "Small models that a process measures before it is replaced."
)
_TIME_LIMIT = flags.DEFINE_float("time_limit", 900.0, "Seconds for one cell.")
_MEMORY = flags.DEFINE_float("memory_gb", 12.0, "Memory for one process.")
_AGAIN = flags.DEFINE_boolean("again", False, "Measure cells again that are not ok or partial.")
_FAST = flags.DEFINE_boolean("fast", False, "Only a handful of tiny models.")


def main(_: list[str]) -> None:
    """Fills the cells that are missing, and writes the page from all that are stored."""
    rows, output = all_rows(), Path(_OUTPUT.value)
    chosen = [row for row in rows if fnmatch.fnmatchcase(row.name, _ONLY.value)]
    if _FAST.value:
        chosen = [row for row in chosen if row.name in FAST]
    if not chosen:
        raise SystemExit(f"No model is called {_ONLY.value!r}; the first is {rows[0].name!r}.")
    if _AGAIN.value:
        _forget(chosen, output)
    plan = jobs.Plan(
        output=output,
        columns=tuple(_COLUMNS.value),
        jobs=_JOBS.value,
        rows_per_process=_ROWS.value,
        time_limit_s=_TIME_LIMIT.value,
        memory_gb=_MEMORY.value,
    )
    jobs.fill_table(chosen, plan)
    write_file(_TABLE.value, table.markdown(rows, output, [*OURS, *THEIRS]))
    print(f"Written to {_TABLE.value}")


def _forget(rows: list[Row], output: Path) -> None:
    """Drops what did not work of tfopt's own columns."""
    for row in rows:
        file = RowFile(output, row.name)
        wrong = [name for name, cell in file.cells.items() if cell.status not in ("ok", "partial")]
        if chosen := [name for name in wrong if name in OURS and name in _COLUMNS.value]:
            file.forget(chosen)


if __name__ == "__main__":
    app.run(main)
