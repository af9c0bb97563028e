"""`tfopt evaluate`: what a model is worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from tfopt.commands import import_tensorflow, refuse_no_dataset
from tfopt.errors import SettingError
from tfopt.flags import define_data, define_metric, one_argument, task_from_flags

SUMMARY = "Measures a .tflite or a Keras model on data."
ARGUMENTS = "MODEL"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    define_data(values)
    define_metric(values)
    flags.DEFINE_string("split", None, "test (default), validation or train", flag_values=values)
    flags.DEFINE_string(
        "kernels", None, "of a .tflite: default, builtin or reference", flag_values=values
    )
    flags.DEFINE_string(
        "against", None, "a second model, such as the baseline, to compare with", flag_values=values
    )
    flags.DEFINE_bool("json", False, "print as JSON", flag_values=values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints the metric, and how far it is from the other model's."""
    from tfopt.measure.checks import check_metric
    from tfopt.measure.comparison import compare
    from tfopt.measure.quality import evaluate

    model = _model(one_argument(arguments, ARGUMENTS), values.kernels)
    other = None if values.against is None else _model(values.against, None)
    refuse_no_dataset(values)
    check_metric(values.metric)  # refuses an unknown one
    if isinstance(model, str) or isinstance(other, str) or values.dataset != "digits":
        import_tensorflow()
    task = task_from_flags(values)
    quality = evaluate(model, task=task, split=values.split)
    if other is None:
        print(json.dumps(quality.to_dict(), indent=2) if values.json else quality)
        return 0
    comparison = compare(quality, evaluate(other, task=task, split=values.split), task=task)
    print(json.dumps(comparison.to_dict(), indent=2) if values.json else comparison)
    return 0


def _model(path: str, kernels: Any) -> Any:
    is_file = Path(path).suffix == ".tflite"
    if kernels is not None and not is_file:
        raise SettingError(
            received=f"--kernels={kernels} for {path!r}",
            expected="a .tflite, which an interpreter runs",
            fix="leave --kernels out for a Keras model",
        )
    if not is_file:
        return path
    from tfopt.tflite.interpreter import TFLiteModel

    # Before the data is loaded, so that a bad file is known at once.
    return TFLiteModel(path, kernels=kernels or "default")
