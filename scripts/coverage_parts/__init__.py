"""The parts of `scripts/coverage.py`: rows are models, columns what is done to them.

`rows` names and builds the models, `ours` and `theirs` fill the cells, `worker` does so in a
process of its own, `jobs` runs such processes, `table` draws what they wrote.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, get_args

from tfopt.files import write_file

Status = Literal["ok", "partial", "refused", "failed", "crashed", "late"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclasses.dataclass(frozen=True)
class Cell:
    """What came of doing something to a model.

    Args:
        status: `ok`; `partial` if some layers are left out, each with its reason; `refused` by an
            error that says why and what to do; `failed` by any other error or a wrong result;
            `crashed` with its process; `late` if it took too long.
        note: The reason in a few words.
        reason: The whole reason.
        details: Figures and layers.
        seconds: How long it took.
    """

    status: Status
    note: str = ""
    reason: str = ""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


class RowFile:
    """The cells of a model, in a JSON file that is whole at any time.

    Args:
        output: The directory of all results.
        row: The model's name in the table.
    """

    def __init__(self, output: Path, row: str) -> None:
        self.path = output / f"{row}.json"
        stored = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.running: str | None = stored.get("running")
        self.cells = {name: Cell(**cell) for name, cell in stored.get("cells", {}).items()}

    def start(self, column: str) -> None:
        """Notes what is being done, so that a crash can be told what it came of."""
        self.running = column
        self._write()

    def finish(self, column: str, cell: Cell) -> None:
        """Stores a cell."""
        self.cells[column], self.running = cell, None
        self._write()

    def forget(self, columns: list[str]) -> None:
        """Drops cells, so that they are filled again, and what was begun."""
        self.running = None
        for column in columns:
            self.cells.pop(column, None)
        self._write()

    def _write(self) -> None:
        cells = {name: dataclasses.asdict(cell) for name, cell in self.cells.items()}
        write_file(self.path, json.dumps({"running": self.running, "cells": cells}, indent=1))
