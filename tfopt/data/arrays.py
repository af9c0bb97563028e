"""Arrays of samples: one, a tuple or a dict of them, as many as a model has inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tfopt.errors import DataError

Arrays: TypeAlias = np.ndarray | tuple[np.ndarray, ...] | dict[str, np.ndarray]
"""One or several inputs (or outputs) of a model; the first axis of each array counts samples."""

Batch: TypeAlias = tuple[Arrays, Arrays]


class DataWarning(UserWarning):
    """Data can be used, but the figures may not mean what the reader thinks."""


def leaves(arrays: Arrays) -> list[tuple[str, np.ndarray]]:
    """Returns the arrays with their names: `""` for a single one, its position in a tuple.

    Example:
        >>> [name for name, _ in leaves((np.zeros(3), np.ones(3)))]
        ['0', '1']
    """
    if isinstance(arrays, dict):
        return list(arrays.items())
    if isinstance(arrays, tuple):
        return [(str(index), array) for index, array in enumerate(arrays)]
    return [("", arrays)]


def length(arrays: Arrays) -> int:
    """Returns the number of samples.

    Example:
        >>> length({"image": np.zeros((5, 8, 8, 1)), "age": np.zeros(5)})
        5
    """
    return len(leaves(arrays)[0][1])


def select(arrays: Arrays, index: np.ndarray | slice) -> Arrays:
    """Returns the samples at `index` (a slice, positions or a mask), structured as they were.

    Example:
        >>> select((np.arange(4), np.arange(4) * 10), slice(1, 3))
        (array([1, 2]), array([10, 20]))
    """
    if isinstance(arrays, dict):
        return {name: array[index] for name, array in arrays.items()}
    if isinstance(arrays, tuple):
        return tuple(array[index] for array in arrays)
    return arrays[index]


def concatenate(parts: Sequence[Arrays]) -> Arrays:
    """Returns the samples of all parts, one part after the other.

    Example:
        >>> concatenate([np.arange(2), np.arange(3)])
        array([0, 1, 0, 1, 2])
    """
    first = parts[0]
    joined = [
        np.concatenate(column)
        for column in zip(*([array for _, array in leaves(part)] for part in parts), strict=True)
    ]
    if isinstance(first, dict):
        return dict(zip(first, joined, strict=True))
    return tuple(joined) if isinstance(first, tuple) else joined[0]


def columns(arrays: Arrays, names: Sequence[str]) -> list[np.ndarray]:
    """Returns one array for each name: a dict is looked up by name, a tuple by position.

    Args:
        arrays: The inputs (or outputs) of a model.
        names: The names the model gives them, in its own order.

    Raises:
        DataError: Their number or names are not the model's.

    Example:
        >>> columns({"b": np.ones(1), "a": np.zeros(1)}, ["a", "b"])
        [array([0.]), array([1.])]
    """
    if isinstance(arrays, dict):
        if set(arrays) != set(names):
            raise DataError(
                received=f"arrays named {sorted(arrays)}",
                expected=f"the model's names, {sorted(names)}",
                fix="name the arrays as the model names its inputs and outputs, or pass a tuple in "
                "the model's order",
            )
        return [arrays[name] for name in names]
    found = [array for _, array in leaves(arrays)]
    if len(found) != len(names):
        raise DataError(
            received=f"{len(found)} array(s)",
            expected=f"{len(names)}, one for each of {list(names)}",
            fix="pass a tuple in the model's order, or a dict by name",
        )
    return found


def matched(arrays: Arrays, names: Sequence[str]) -> list[np.ndarray]:
    """Returns what `columns` does; a single array goes with a single name, however it is called.

    Args:
        arrays: The labels (or inputs) of a model.
        names: The names the model gives them, in its own order.

    Raises:
        DataError: Their number or names are not the model's.

    Example:
        >>> matched({"label": np.zeros(1)}, ["probabilities"])
        [array([0.])]
    """
    given = leaves(arrays)
    return [given[0][1]] if len(given) == len(names) == 1 else columns(arrays, names)


def fitted(
    inputs: Arrays, names: Sequence[str], shapes: Sequence[Sequence[int | None]]
) -> list[np.ndarray]:
    """Returns samples as one array for each input of a model, in the model's order.

    Args:
        inputs: Samples, by position or by the name of the input.
        names: The model's inputs.
        shapes: Of one sample of each, where None is any size.

    Raises:
        DataError: They are not those of the model, in number, names or shapes.

    Example:
        >>> fitted({"x": np.zeros((5, 8, 3))}, ["x"], [(None, 3)])[0].shape
        (5, 8, 3)
    """
    arrays = columns(inputs, names)
    for name, array, shape in zip(names, arrays, shapes, strict=True):
        sizes = np.shape(array)[1:]
        fits = len(sizes) == len(shape) and all(
            wanted in (None, size) for size, wanted in zip(sizes, shape, strict=True)
        )
        if not fits:
            raise DataError(
                received=f"representative samples of shape {sizes} for {name!r}",
                expected=f"shape {tuple(shape)}, where None is any size",
                fix="pass inputs as the model takes them, the first axis counting samples",
            )
    return arrays


def as_arrays(value: Any, what: str) -> Arrays:
    """Turns what a user gives (arrays, tensors, lists, tuples, a dict) into checked `Arrays`.

    A list of arrays is several inputs, as it is for Keras; a list of numbers is one array.

    Args:
        value: The inputs or outputs of all samples.
        what: What they are in an error message, such as `"the inputs of train"`.

    Raises:
        DataError: Empty, of a type that is not numeric, holding NaN or infinity, or of several
            lengths.

    Example:
        >>> as_arrays([0, 1, 1], "the labels of train")
        array([0, 1, 1])
    """
    arrays: Arrays
    if isinstance(value, dict):
        arrays = {str(name): _array(item, f"{what}, {name!r}") for name, item in value.items()}
    elif isinstance(value, tuple) or (isinstance(value, list) and _holds_arrays(value)):
        arrays = tuple(_array(item, f"{what}, number {i}") for i, item in enumerate(value))
    else:
        arrays = _array(value, what)
    if not leaves(arrays):
        raise DataError(
            received=f"{what} without any array",
            expected="one array, a tuple of arrays or a dict of arrays",
            fix="pass one array for each input of the model",
        )
    lengths = [len(array) for _, array in leaves(arrays)]
    if len(set(lengths)) > 1:
        raise DataError(
            received=f"{what} as {len(lengths)} arrays of {lengths} samples",
            expected="the same number of samples in each",
            fix="a list or tuple of arrays is one array for each input of the model: use "
            "np.stack to make one array out of samples",
        )
    return arrays


def check_finite(arrays: Arrays, what: str) -> None:
    """Refuses NaN and infinity, telling where the first one is.

    Raises:
        DataError: A floating-point value is not finite.

    Example:
        >>> check_finite(np.array([[0.0], [np.nan]]), "the inputs")
        Traceback (most recent call last):
        ...
        tfopt.errors.DataError: Received NaN or infinity in 1 of 2 samples of the inputs (first: sample 1); expected finite numbers. Fix: drop those samples or fill the missing values.
    """  # noqa: E501 - a doctest's expected line cannot be wrapped
    for name, array in leaves(arrays):
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
        raise DataError(
            received=f"NaN or infinity in {len(bad)} of {len(array)} samples of {what}"
            f"{f', {name!r}' if name else ''} (first: sample {bad[0]})",
            expected="finite numbers",
            fix="drop those samples or fill the missing values",
        )


def _holds_arrays(values: list[Any]) -> bool:
    return bool(values) and all(np.ndim(value) >= 1 and hasattr(value, "dtype") for value in values)


def _array(value: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(
            received=f"{what} as {type(value).__name__}, of which numpy makes no array ({error})",
            expected="an array of numbers with samples along the first axis",
            fix="make all samples the same shape",
        ) from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            received=f"{what} of dtype {array.dtype}",
            expected="numbers: float32, an integer type or bool",
            fix="turn names into integers; samples of different shapes must be made the same shape",
        )
    if array.ndim == 0 or len(array) == 0:
        raise DataError(
            received=f"{what} of shape {array.shape}",
            expected="at least one sample along the first axis",
            fix="check the file or the filter the samples come from",
        )
    return array
