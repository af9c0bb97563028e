"""Samples as tfopt reads them: arrays in memory, or a stream, in batches and always in one order."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tfopt.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

Arrays: TypeAlias = np.ndarray | tuple[np.ndarray, ...] | dict[str, np.ndarray]
"""One or several inputs (or outputs) of a model; the first axis of each array counts samples."""

Batch: TypeAlias = tuple[Arrays, Arrays]

_FINGERPRINT_BATCH = 1024


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
    if isinstance(first, dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in first}  # type: ignore[call-overload,index]
    if isinstance(first, tuple):
        return tuple(np.concatenate([part[i] for part in parts]) for i in range(len(first)))  # type: ignore[index]
    return np.concatenate(parts)  # type: ignore[arg-type]


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


class Split(abc.ABC):
    """The samples of one of train, validation and test, always in the same order."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The number of samples."""

    @abc.abstractmethod
    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yields (inputs, outputs) in order, `batch_size` samples each; the last may be short."""

    def first(self) -> Batch:
        """Returns the first samples (at most 256): enough to see shapes and types."""
        return next(self.batches(256))

    def sample(self, count: int, seed: int) -> Arrays:
        """Returns the inputs of random samples, without replacement, in the split's order.

        Args:
            count: How many; all, if the split has fewer.
            seed: The same seed gives the same samples.
        """
        wanted = sample_positions(self.size, count, seed)
        parts, start = [], 0
        for x, _ in self.batches(_FINGERPRINT_BATCH):
            stop = start + length(x)
            here = wanted[(wanted >= start) & (wanted < stop)]
            if len(here):
                parts.append(select(x, here - start))
            start = stop
            if start > wanted[-1]:
                break
        return concatenate(parts)

    def fingerprint(self) -> str:
        """Returns a sha256 over names, types, shapes and content, in order.

        The same samples have the same fingerprint, in memory or streamed.
        """
        digests: dict[str, Any] = {}
        for batch in self.batches(_FINGERPRINT_BATCH):
            for side, arrays in zip("xy", batch, strict=True):
                for name, array in leaves(arrays):
                    key = f"{side}.{name}:{array.dtype.str}{array.shape[1:]}"
                    digest = digests.setdefault(key, hashlib.sha256())
                    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        whole = hashlib.sha256(f"{self.size} samples".encode())
        for key in sorted(digests):
            whole.update(key.encode() + digests[key].digest())
        return whole.hexdigest()


def sample_positions(size: int, count: int, seed: int) -> np.ndarray:
    """Returns `count` (at most `size`) different positions below `size`, ascending.

    Example:
        >>> sample_positions(3, 10, seed=0)
        array([0, 1, 2])
    """
    return np.sort(np.random.default_rng(seed).permutation(size)[:count])


class ArraySplit(Split):
    """Samples held in memory.

    Args:
        x: The inputs, (samples, ...) each: an array, a tuple of arrays or a dict of them.
        y: The outputs, likewise.
        name: Which split it is, for the error messages.

    Raises:
        DataError: Empty, of different lengths, not numeric, NaN or infinity.

    Example:
        >>> ArraySplit(np.zeros((4, 2)), [0, 1, 0, 1]).size
        4
    """

    def __init__(self, x: Any, y: Any, *, name: str = "train") -> None:
        self.x: Arrays = as_arrays(x, f"the inputs of {name}")
        self.y: Arrays = as_arrays(y, f"the labels of {name}")
        if length(self.x) != length(self.y):
            raise DataError(
                received=f"{length(self.x)} inputs and {length(self.y)} labels in {name}",
                expected="one label for each input",
                fix="check how the (x, y) pair was made",
            )
        check_finite(self.x, f"the inputs of {name}")
        check_finite(self.y, f"the labels of {name}")

    @property
    def size(self) -> int:
        """The number of samples."""
        return length(self.x)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yields (inputs, outputs) in order, as views of the arrays."""
        for start in range(0, self.size, batch_size):
            index = slice(start, start + batch_size)
            yield select(self.x, index), select(self.y, index)

    def sample(self, count: int, seed: int) -> Arrays:
        """Returns the inputs of random samples, without replacement, in the split's order."""
        return select(self.x, sample_positions(self.size, count, seed))


class DatasetSplit(Split):
    """Samples streamed from a `tf.data.Dataset`, never all in memory.

    Args:
        dataset: An unbatched dataset of `(inputs, outputs)`.
        size: The number of samples.
        name: Which split it is, for the error messages.

    Raises:
        DataError: `size` is not positive. NaN and infinity are found while streaming.
    """

    def __init__(self, dataset: tf.data.Dataset, *, size: int, name: str = "train") -> None:
        if size < 1:
            raise DataError(
                received=f"a dataset of {size} samples for {name}",
                expected="at least one sample",
                fix="check the filter and the files behind it",
            )
        self.dataset, self._size, self._name = dataset, size, name

    @property
    def size(self) -> int:
        """The number of samples."""
        return self._size

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yields (inputs, outputs) in order."""
        for x, y in self.dataset.batch(batch_size).prefetch(2).as_numpy_iterator():
            inputs = as_arrays(x, f"the inputs of {self._name}")
            outputs = as_arrays(y, f"the labels of {self._name}")
            check_finite(inputs, f"the inputs of {self._name}")
            check_finite(outputs, f"the labels of {self._name}")
            yield inputs, outputs


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
