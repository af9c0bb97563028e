"""What the methods of calibration, and the choices of samples, make of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from tfopt.errors import SettingError
from tfopt.measure.quality import Quality, evaluate
from tfopt.tables import text_table
from tfopt.target import Calibration, Choice, Target, check_target
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect

if TYPE_CHECKING:
    from tfopt.task import Task


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """A file made with one method and one choice of samples.

    Args:
        calibration: The method.
        choice: Which samples it saw.
        quality: The task's metric on the validation data.
        ranges: The smallest and largest number of each activation, by the tensor's name.
    """

    calibration: Calibration
    choice: Choice
    quality: Quality
    ranges: dict[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Calibrations:
    """Files of one model, that differ in how they were calibrated.

    Args:
        rows: The files, in the order they were asked for.
    """

    rows: tuple[Calibrated, ...]

    def __str__(self) -> str:
        widest = {
            name: max(_width(row.ranges[name]) for row in self.rows if name in row.ranges)
            for name in self.rows[0].ranges
        }
        table = []
        for row in self.rows:
            shares = [
                _width(row.ranges[name]) / width
                for name, width in widest.items()
                if width and name in row.ranges
            ]
            figures = [row.quality.value, row.quality.low, row.quality.high]
            cells = [f"{figure:.4f}" for figure in figures]
            cells += [f"{share:.0%}" for share in (np.mean(shares), min(shares))]
            table.append([row.calibration, row.choice, *cells])
        header = ["method", "samples", self.rows[0].quality.metric, "from", "to"]
        return text_table([*header, "mean range", "narrowest"], table)


def compare_calibrations(
    model: Any,
    *,
    task: Task,
    target: Target,
    calibrations: Sequence[Calibration] = get_args(Calibration),
    choices: Sequence[Choice] = ("random",),
) -> Calibrations:
    """Converts a model with each method and choice of samples, and measures the files.

    Args:
        model: A path, a Keras 3 model or a tf_keras model.
        task: Its representative samples calibrate; the metric is measured on its validation data.
        target: An integer target; its own method and choice do not matter.
        calibrations: The methods.
        choices: The choices of samples.

    Returns:
        One row for each pair; printed, with the ranges' widths in parts of the widest found.

    Raises:
        ConversionError: The converter fails on the model.
        DataError: The data does not fit the model, or has no classes to balance.
        SettingError: `target` or `task` is none, or a method is unknown; the target is of floating
            point; or there are no methods or choices.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> found = compare_calibrations(
        ...     small_cnn(), task=tfopt.Task.digits(), target=tfopt.Target.int8(),
        ...     calibrations=["min_max", "percentile"])
        >>> [row.calibration for row in found.rows]
        ['min_max', 'percentile']
    """
    check_target(target)
    if not target.needs_calibration or not calibrations or not choices:
        raise SettingError(
            received=f"numerics={target.numerics!r}, calibrations={calibrations!r} and "
            f"choices={choices!r}",
            expected="an integer target, at least one method and at least one choice",
            fix="pass target=tfopt.Target.int8(), and leave out what is to be the default",
        )
    rows = []
    for choice in choices:
        for calibration in calibrations:
            one = dataclasses.replace(target, calibration=calibration, representative_choice=choice)
            tflite = convert(model, task=task, target=one)
            quality = evaluate(tflite, task=task, split="validation")
            rows.append(Calibrated(calibration, choice, quality, activation_ranges(tflite)))
    return Calibrations(tuple(rows))


def activation_ranges(tflite: bytes) -> dict[str, tuple[float, float]]:
    """Returns the real numbers that a file's activations reach from and to, by the tensor's name.

    Args:
        tflite: An integer file.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), task=tfopt.Task.digits(),
        ...                        target=tfopt.Target.int8(refine=False))
        >>> activation_ranges(tflite)["probabilities"]
        (0.0, 0.99609375)
    """
    return {
        tensor.name: tensor.range
        for tensor in inspect(tflite).tensors
        if tensor.scales and not tensor.constant and not tensor.is_float
    }


def _width(ends: tuple[float, float]) -> float:
    return ends[1] - ends[0]
