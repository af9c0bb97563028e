"""`tfopt profile`: where a file's time goes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from absl import flags

from tfopt.flags import one_argument

SUMMARY = "Times each op of a .tflite: its layer, share and kernel."
ARGUMENTS = "FILE.tflite"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_integer("runs", 100, "the most runs of each op", flag_values=values)
    flags.DEFINE_float("seconds", 10, "time for all ops together, about", flag_values=values)
    flags.DEFINE_integer("threads", 1, "threads of the interpreter", flag_values=values)
    flags.DEFINE_string(
        "kernels", "default", "default (XNNPACK), builtin or reference", flag_values=values
    )
    flags.DEFINE_bool("json", False, "print as JSON", flag_values=values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints the profile."""
    from tfopt.measure.profile import profile

    found = profile(
        one_argument(arguments, ARGUMENTS),
        runs=values.runs,
        seconds=values.seconds,
        threads=values.threads,
        kernels=values.kernels,
    )
    print(json.dumps(found.to_dict(), indent=2) if values.json else found)
    return 0
