"""The samples that a model is converted with: the task's, others given for it, or zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt.data import Arrays, DataWarning, as_arrays, check_finite, fitted
from tfopt.errors import DataError, SettingError
from tfopt.graph.sizes import nominal_sizes
from tfopt.keras_gate import tf_keras
from tfopt.target import Target

if TYPE_CHECKING:
    from tfopt.task import Task


def samples(
    model: tf_keras.Model, task: Task | None, target: Target, representative: Arrays | None
) -> tuple[list[np.ndarray], set[str]]:
    """Returns samples of the model's inputs, one array for each, and the names data goes by.

    As many as the target calibrates with; one, to run the file, where it does not; zeros where
    there is no task.

    Args:
        model: The model to convert.
        task: Gives its representative samples; None if there is none.
        target: Says how many it needs.
        representative: Inputs to take instead, all of them.

    Raises:
        DataError: They do not fit the model, or have no range to calibrate with.
        SettingError: There are none, and the target needs some.
    """
    if task is not None:
        task.check(model)
    if representative is not None:
        arrays = as_arrays(representative, "the representative inputs")
        check_finite(arrays, "the representative inputs")
    elif task is not None:
        arrays = task.representative_inputs(
            target.representative_samples if target.needs_calibration else 1,
            choice=target.representative_choice,
        )
    else:
        if target.needs_calibration:
            raise SettingError(
                received=f"task=None for a target with numerics={target.numerics!r}",
                expected="a task, whose representative samples calibrate the activation ranges",
                fix="pass task=tfopt.Task.from_arrays(...); without data, pass representative="
                "tfopt.synthetic_inputs(model), or use Target.dynamic_range()",
            )
        return _zeros(model), set()
    found = fitted(arrays, model.input_names, [tensor.shape[1:] for tensor in model.inputs])
    for name, tensor, array in zip(model.input_names, model.inputs, found, strict=True):
        if target.needs_calibration:
            _check_varied(name, tensor, array)
    typed = [
        np.asarray(array, tensor.dtype.as_numpy_dtype)
        for array, tensor in zip(found, model.inputs, strict=True)
    ]
    labels = task.validation.first()[1] if task is not None else None
    named = [data for data in (arrays, labels) if isinstance(data, dict)]
    return typed, {name for data in named for name in data}


def _check_varied(name: str, tensor: Any, array: np.ndarray) -> None:
    """Refuses calibration data without a range."""
    if tensor.dtype.is_floating and array.size > 1 and not np.ptp(array):
        raise DataError(
            received=f"representative samples that are all {array.flat[0]:g} for input {name!r}",
            expected="samples as the model sees them in use: their range becomes the file's",
            fix="calibrate with real samples",
        )


def told_of_one(samples: list[np.ndarray]) -> tuple[DataWarning, ...]:
    """Returns what to warn of where one sample gave all ranges; nothing if several did."""
    if not all((array == array[:1]).all() for array in samples):
        return ()
    count = len(samples[0])
    what = "A single representative sample" if count == 1 else f"{count} equal samples"
    told = DataWarning(
        f"{what} gave all activation ranges of the file: what others of the device's inputs reach "
        "beyond them is cut off. Calibrate with some hundred samples that differ."
    )
    return (told,)


def has_open_sizes(model: tf_keras.Model) -> bool:
    """Returns whether an input of a model leaves a size open, beside the number of samples.

    Example:
        >>> from tfopt.testing import small_cnn
        >>> has_open_sizes(small_cnn())
        False
    """
    return any(None in tensor.shape[1:] for tensor in model.inputs)


def _zeros(model: tf_keras.Model) -> list[np.ndarray]:
    """A sample of zeros for each input; of sizes that the model computes with, where it is open."""
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if has_open_sizes(model):
        shapes = list(nominal_sizes(model).inputs)
    kinds = [tensor.dtype.as_numpy_dtype for tensor in model.inputs]
    return [np.zeros((1, *shape), kind) for shape, kind in zip(shapes, kinds, strict=True)]
