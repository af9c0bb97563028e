"""`tfopt compare`: where a file loses precision, layer by layer."""

from __future__ import annotations

import json
from collections.abc import Sequence

from absl import flags

from tfopt.commands import import_tensorflow, refuse_no_dataset
from tfopt.flags import define_data, task_from_flags, two_arguments

SUMMARY = "Compares a Keras model's layers with its .tflite's."
ARGUMENTS = "MODEL FILE.tflite"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    define_data(values)
    flags.DEFINE_integer("samples", 64, "how many to run", lower_bound=1, flag_values=values)
    flags.DEFINE_bool("json", False, "print as JSON", flag_values=values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints the layers, those that lose most precision first."""
    model, file = two_arguments(arguments, ARGUMENTS)
    refuse_no_dataset(values)
    import_tensorflow()

    from tfopt.measure.layers import compare_layers

    compared = compare_layers(file, model, task=task_from_flags(values), samples=values.samples)
    print(json.dumps(compared.to_dict(), indent=2) if values.json else compared)
    return 0
