"""`tfopt benchmark`: how long a sample takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from tfopt.errors import SettingError

SUMMARY = "Times .tflite files on this machine, one sample at a time."
ARGUMENTS = "FILE.tflite..."


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_integer("runs", 200, "the most runs to time", flag_values=values)
    flags.DEFINE_integer("threads", 1, "threads of the interpreter", flag_values=values)
    flags.DEFINE_float("seconds", 5, "time for each file", flag_values=values)
    flags.DEFINE_bool("json", False, "print as JSON", flag_values=values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints the latency of each file."""
    from tfopt.measure.cost import benchmark_interleaved, ratio

    if not arguments:
        raise SettingError(received="no argument", expected=ARGUMENTS, fix="name the files to time")
    latencies = benchmark_interleaved(
        arguments, runs=values.runs, threads=values.threads, seconds=values.seconds
    )
    ratios = [ratio(latency, latencies[0]) for latency in latencies[1:]]
    if values.json:
        records: list[dict[str, Any]] = [
            {"file": file, **latency.to_dict()}
            for file, latency in zip(arguments, latencies, strict=True)
        ]
        for record, found in zip(records[1:], ratios, strict=True):
            record["ratio_to_first"] = dataclasses.asdict(found)
        print(json.dumps(records[0] if len(records) == 1 else records, indent=2))
        return 0
    for file, latency in zip(arguments, latencies, strict=True):
        print(latency if len(arguments) == 1 else f"{file}: {latency}")
    for file, found in zip(arguments[1:], ratios, strict=True):
        print(f"{file} takes {found} of the time of {arguments[0]}")
    return 0
