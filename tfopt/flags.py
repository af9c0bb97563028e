"""The absl flags that scripts and the command line share, and what they say as objects.

Importing this module defines them on absl's own `FLAGS`, for scripts run by `absl.app`; the command
line defines the same ones for each command apart.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, get_args

from absl import flags

from tfopt.errors import SettingError
from tfopt.target import BUDGETS, Calibration, Choice, Numerics, Target
from tfopt.task import Task
from tfopt.task.base import STRATEGIES

_KEEPING = ("keep_float", "keep_int16", "keep_int8")
_FOLDER_STARTS = (".", "~", os.sep)


def define_data(values: flags.FlagValues, *, dataset: str | None = None) -> None:
    """Defines which data `task_from_flags` loads.

    Args:
        values: Where to define it.
        dataset: The data set if none is named.
    """
    _string(values, "dataset", dataset, "digits, a TFDS name, or a folder of images")
    _string(values, "data_dir", None, "where TFDS sets are prepared")
    _string(values, "image_size", None, "resize images to 96, or 96x128 (height x width)")
    _integer(values, "channels", None, "of images in a folder: 3 (default) or 1")
    _integer(values, "seed", 0, "seeds everything random")


def define_metric(values: flags.FlagValues) -> None:
    """Defines the metric and the loss of `task_from_flags`."""
    _string(values, "metric", "accuracy", "what is measured")
    _string(values, "loss", "sparse_categorical_crossentropy", "a Keras loss")
    _boolean(values, "from_logits", "the outputs have no softmax or sigmoid")


def define_training(values: flags.FlagValues) -> None:
    """Defines how `task_from_flags` trains."""
    _integer(values, "batch_size", 32, "samples in a training step")
    flags.DEFINE_enum(
        "strategy",
        "none",
        ["none", *STRATEGIES],
        "devices that train: all of this machine, or those of TF_CONFIG",
        flag_values=values,
    )


def define_target(values: flags.FlagValues) -> None:
    """Defines the numbers of `target_from_flags`."""
    _string(values, "numerics", "int8", ", ".join(get_args(Numerics)))
    _string(values, "input_type", None, "int8, uint8, int16 or float32")
    _string(values, "output_type", None, "likewise")
    _boolean(values, "allow_float_ops", "list floating-point ops as warnings")
    _integer(values, "representative_samples", 256, "to calibrate with")
    _string(values, "representative_choice", "random", f"of them: {', '.join(get_args(Choice))}")
    _string(values, "calibration", "min_max", ", ".join(get_args(Calibration)))
    _string(values, "exporter", "tflite", "tflite, or litert (the LiteRT Quantizer)")
    _list(values, "keep_float", "layers that compute in floating point: --keep_float=a,b")
    _list(values, "keep_int16", "layers with 16-bit activations")
    _list(values, "keep_int8", "layers with 8-bit weights in int4_weights files")
    _boolean(values, "sparse_encoding", "store kernels with many zeros smaller")
    _boolean(values, "compact", "an integer file that deflates smaller")
    flags.DEFINE_bool(
        "refine", True, "try post-training techniques, take the best", flag_values=values
    )


def define_budgets(values: flags.FlagValues) -> None:
    """Defines the budgets of `target_from_flags`."""
    _float(values, "max_accuracy_drop", None, "budget: what the metric may lose")
    _integer(values, "max_bytes", None, "budget: size of the file")
    _float(values, "max_latency_ms", None, "budget: median latency on this machine")
    _integer(values, "max_arena_bytes", None, "budget: memory of the activations")
    _float(values, "max_group_drop", None, "budget: what a class or group may lose")


def define_output(values: flags.FlagValues, text: str, *, output: str | None = None) -> None:
    """Defines where results are written.

    Args:
        values: Where to define it.
        text: What is written.
        output: Where, if nothing is said.
    """
    _string(values, "output", output, text)
    define_overwrite(values)


def define_overwrite(values: flags.FlagValues) -> None:
    """Defines whether an output may hold something."""
    _boolean(values, "overwrite", "replace what is there")


def task_from_flags(values: flags.FlagValues = flags.FLAGS) -> Task:
    """Loads the task the flags name.

    Args:
        values: Parsed flags, of `define_data`, and perhaps `define_metric` and `define_training`.

    Raises:
        SettingError: A flag is missing, or cannot be.
        DataError: The data cannot be loaded.
    """
    strategy = values.strategy if "strategy" in values else "none"
    if strategy == "none":
        return _task(values)
    from tfopt.training import strategies

    strategies.begin(strategy)  # before anything uses TensorFlow, such as to read the data
    return _task(values).distributed(strategy)


def _task(values: flags.FlagValues) -> Task:
    """The task on one device."""
    name = values.dataset
    names = ("metric", "batch_size", "seed")
    settings = {name: values[name].value for name in names if name in values}
    if "loss" in values:
        settings["loss"] = _loss(values)
    if name is None:
        raise SettingError(
            received="no --dataset",
            expected="the data the model is for",
            fix="pass --dataset=digits, a TFDS name such as mnist, or a folder of images",
        )
    image_size = _image_size(values.image_size)
    if name == "digits":
        _refuse(values, ("image_size", "channels", "data_dir"), "the embedded digits")
        return Task.digits(**settings)
    if _is_folder(name):
        _refuse(values, ("data_dir",), "a folder of images")
        if image_size is None:
            raise SettingError(
                received=f"--dataset={name} without --image_size",
                expected="the size the model takes",
                fix="pass it, such as --image_size=96",
            )
        folder = os.path.expanduser(name)
        channels = 3 if values.channels is None else values.channels
        return Task.from_image_folder(folder, image_size=image_size, channels=channels, **settings)
    _refuse(values, ("channels",), "a TFDS set")
    return Task.from_tfds(name, data_dir=values.data_dir, image_size=image_size, **settings)


def _is_folder(name: str) -> bool:
    """Whether a name is a folder's: by how it begins, or since it is there and no TFDS set's."""
    if name.startswith(_FOLDER_STARTS):
        return True
    from tfopt.datasets.tfds import is_known

    return os.path.isdir(name) and not is_known(name)


def target_from_flags(values: flags.FlagValues = flags.FLAGS) -> Target:
    """Builds the target the flags name.

    Args:
        values: Parsed flags, of `define_target`, and perhaps of `define_budgets`.

    Raises:
        SettingError: A flag's value cannot be.
    """
    names = ("input_type", "output_type", *BUDGETS)
    settings = {name: values[name].value for name in names if name in values}
    given = {name: value for name, value in settings.items() if value is not None}
    given |= {
        "allow_float_ops": values.allow_float_ops,
        "representative_samples": values.representative_samples,
        "representative_choice": values.representative_choice,
        "calibration": values.calibration,
        "exporter": values.exporter,
        "sparse_encoding": values.sparse_encoding,
        "compact": values.compact,
        "refine": values.refine,
    }
    given |= {name: tuple(values[name].value) for name in _KEEPING}
    if values.numerics not in get_args(Numerics):
        return Target(numerics=values.numerics)  # which says what is wrong
    return getattr(Target, values.numerics)(**given)


def output_from_flags(values: flags.FlagValues = flags.FLAGS) -> str:
    """Returns where to write.

    Args:
        values: Parsed flags, of `define_output`.

    Raises:
        SettingError: `--output` is missing.
    """
    if not values.output:
        raise SettingError(
            received="no --output",
            expected=f"--output: {values['output'].help}",
            fix="say where to write",
        )
    return str(values.output)


def one_argument(arguments: Sequence[str], name: str) -> str:
    """Returns the only argument of a command.

    Args:
        arguments: What stands on the command line beside the flags.
        name: What the argument is.

    Raises:
        SettingError: There is none, or more than one.

    Example:
        >>> one_argument(["model.tflite"], "FILE.tflite")
        'model.tflite'
    """
    _check_count(arguments, 1, f"one argument, {name}")
    return arguments[0]


def two_arguments(arguments: Sequence[str], names: str) -> tuple[str, str]:
    """Returns both arguments of a command.

    Args:
        arguments: What stands on the command line beside the flags.
        names: What they are.

    Raises:
        SettingError: There are fewer, or more.

    Example:
        >>> two_arguments(["out/a", "out/b"], "DIRECTORY_A DIRECTORY_B")
        ('out/a', 'out/b')
    """
    _check_count(arguments, 2, f"two arguments, {names}")
    return arguments[0], arguments[1]


def _check_count(arguments: Sequence[str], count: int, expected: str) -> None:
    """Refuses another number of arguments."""
    if len(arguments) != count:
        raise SettingError(
            received=" ".join(arguments) or "no argument",
            expected=expected,
            fix="put flags as --name=value, and quote values with spaces",
        )


def _refuse(values: flags.FlagValues, names: tuple[str, ...], what: str) -> None:
    """Refuses flags that would have no effect."""
    for name in names:
        if values[name].value is not None:
            raise SettingError(
                received=f"--{name}={values[name].value} with --dataset={values.dataset}",
                expected=f"no --{name} for {what}",
                fix="leave it out",
            )


def _image_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) <= 2 and all(part.isdecimal() and int(part) > 0 for part in parts):
        return int(parts[0]), int(parts[-1])
    raise SettingError(
        received=f"--image_size={text}",
        expected="a number of pixels, or height x width",
        fix="pass --image_size=96 or --image_size=96x128",
    )


def _loss(values: flags.FlagValues) -> Any:
    if not values.from_logits:
        return values.loss
    from tfopt.keras_gate import tf_keras

    name = "".join(part.capitalize() for part in values.loss.split("_"))
    try:
        return getattr(tf_keras.losses, name)(from_logits=True)
    except (AttributeError, TypeError) as error:
        raise SettingError(
            received=f"--from_logits with --loss={values.loss}",
            expected="a cross-entropy",
            fix="leave --from_logits out for this loss",
        ) from error


def _string(values: flags.FlagValues, name: str, default: str | None, text: str) -> None:
    flags.DEFINE_string(name, default, text, flag_values=values)


def _integer(values: flags.FlagValues, name: str, default: int | None, text: str) -> None:
    flags.DEFINE_integer(name, default, text, flag_values=values)


def _float(values: flags.FlagValues, name: str, default: float | None, text: str) -> None:
    flags.DEFINE_float(name, default, text, flag_values=values)


def _list(values: flags.FlagValues, name: str, text: str) -> None:
    flags.DEFINE_list(name, [], text, flag_values=values)


def _boolean(values: flags.FlagValues, name: str, text: str) -> None:
    flags.DEFINE_bool(name, False, text, flag_values=values)


define_data(flags.FLAGS, dataset="digits")
define_metric(flags.FLAGS)
define_training(flags.FLAGS)
define_target(flags.FLAGS)
define_budgets(flags.FLAGS)
define_output(flags.FLAGS, "directory of the result", output="out/result")

OUTPUT = flags.FlagHolder[str](flags.FLAGS, flags.FLAGS["output"])
OVERWRITE = flags.FlagHolder[bool](flags.FLAGS, flags.FLAGS["overwrite"])
