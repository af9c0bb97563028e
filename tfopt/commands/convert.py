"""`tfopt convert`: a model as the best file there is without training."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from tfopt.commands import import_tensorflow, refuse_no_dataset
from tfopt.errors import SettingError
from tfopt.files import refuse_existing, write_file
from tfopt.flags import (
    define_data,
    define_metric,
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
    flags.DEFINE_float("max_accuracy_drop", None, "what the metric may lose", flag_values=values)
    define_data(values)
    define_metric(values)


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

    from tfopt.conversion import convert_and_tell
    from tfopt.report.views import trials_table
    from tfopt.tables import text_table
    from tfopt.tflite.inspect import inspect

    tflite, refined = convert_and_tell(model, task=task, target=target)
    refuse_existing(output, overwrite=values.overwrite)
    write_file(output, tflite)
    arithmetic = ", integer only" if inspect(tflite).integer_only else ""
    if refined is not None and task is not None:
        print(text_table(*trials_table(refined.trials, str(task.metric))))
        print(f"{task.metric} drops by {refined.drop} on the validation data")
    print(f"wrote {output} ({len(tflite):,} bytes{arithmetic})")
    return 0
