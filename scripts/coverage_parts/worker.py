"""Fills the cells of some rows in this process, which a crash may take down.

python -m coverage_parts.worker OUTPUT MEMORY_GB COLUMN,COLUMN ROW ROW
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
import warnings
from pathlib import Path

from coverage_parts import Cell, RowFile
from coverage_parts.judging import cell_of_error
from coverage_parts.rows import row_named

BUILD = "build"


def main(output: str, memory_gb: str, columns: str, *names: str) -> None:
    """Fills what is missing, one row after the other."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    _limit_memory(float(memory_gb))
    _leave_graphs_as_they_are()
    for name in names:
        fill(RowFile(Path(output), name), name, columns.split(","))


def fill(file: RowFile, name: str, columns: list[str]) -> None:
    """Fills the cells of a row that are missing, and stores each at once."""
    from coverage_parts import ours, theirs
    from coverage_parts.subject import Subject
    from tfopt.keras_gate import tf_keras

    every = ours.COLUMNS | theirs.COLUMNS
    missing = [column for column in columns if column not in file.cells]
    subject = None
    for column in missing:
        file.start(column)
        start = time.monotonic()
        try:
            subject = subject or Subject(row_named(name))
            cell = every[column](subject)
        except Exception as error:
            cell = cell_of_error(error, traceback.format_exc()[-3000:])
        seconds = round(time.monotonic() - start, 1)
        file.finish(column, Cell(cell.status, cell.note, cell.reason, cell.details, seconds))
    del subject
    tf_keras.backend.clear_session()
    gc.collect()


def _leave_graphs_as_they_are() -> None:
    """Optimizing the graph of a training takes longer than the few steps that are trained here."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _limit_memory(gigabytes: float) -> None:
    """A model that needs more ends its own process, not the machine's others."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    size = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


if __name__ == "__main__":
    main(*sys.argv[1:])
