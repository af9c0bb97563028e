"""`tfopt inspect`: what a file holds."""

from __future__ import annotations

import json
from collections.abc import Sequence

from absl import flags

from tfopt.flags import one_argument

SUMMARY = "Shows the ops and size of a .tflite, and if it is integer only."
ARGUMENTS = "FILE.tflite"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_bool("json", False, "print everything as JSON", flag_values=values)
    flags.DEFINE_bool(
        "integer_only", False, "exit code 1 if an op computes in float", flag_values=values
    )


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints what the file holds."""
    from tfopt.tflite.inspect import inspect

    inspection = inspect(one_argument(arguments, ARGUMENTS))
    print(json.dumps(inspection.to_dict(), indent=2) if values.json else inspection)
    return int(values.integer_only and not inspection.integer_only)
