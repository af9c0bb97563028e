"""`tfopt report`: the page of a result, drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfopt.files import refuse_existing, write_file
from tfopt.flags import define_output, one_argument

SUMMARY = "Draws report.html of a saved result again."
ARGUMENTS = "DIRECTORY"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    define_output(values, "where to write the page; beside the result by default")


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Writes the page and says where."""
    directory = one_argument(arguments, ARGUMENTS)
    if values.output:
        refuse_existing(values.output, overwrite=values.overwrite)

    from tfopt.reporting.html import page
    from tfopt.reporting.saved import PAGE_FILE, read_result

    result = read_result(directory)
    path = Path(values.output or Path(directory) / PAGE_FILE)
    write_file(
        path,
        page(result.report, recipe=result.recipe, tflite=result.tflite, name=result.name),
    )
    print(f"Wrote {path}")
    return 0
