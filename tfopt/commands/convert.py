"""`tfopt convert`: a model as a file, without training."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from tfopt.commands import import_tensorflow, refuse_no_dataset
from tfopt.errors import SettingError
from tfopt.files import refuse_existing, write_file
from tfopt.flags import (
    define_data,
    define_output,
    define_target,
    one_argument,
    output_from_flags,
    target_from_flags,
    task_from_flags,
)

SUMMARY = "Converts a Keras model to a .tflite, without training."
ARGUMENTS = "MODEL"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    define_output(values, "the file to write")
    define_target(values)
    define_data(values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Converts, writes the file and says what it is."""
    model = one_argument(arguments, ARGUMENTS)
    output = output_from_flags(values)
    if not output.endswith(".tflite"):
        raise SettingError(
            received=f"--output={output}",
            expected="a name ending in .tflite",
            fix=f"pass --output={output.rstrip('/')}.tflite",
        )
    refuse_existing(output, overwrite=values.overwrite)
    target = target_from_flags(values)
    if target.needs_calibration:
        refuse_no_dataset(values)
    import_tensorflow()
    needs_data = target.needs_calibration or values.dataset is not None
    task = task_from_flags(values) if needs_data else None

    from tfopt.tflite.convert import convert
    from tfopt.tflite.inspect import inspect

    tflite = convert(model, task=task, target=target)
    refuse_existing(output, overwrite=values.overwrite)
    write_file(output, tflite)
    arithmetic = ", integer only" if inspect(tflite).integer_only else ""
    print(f"wrote {output} ({len(tflite):,} bytes{arithmetic})")
    return 0
