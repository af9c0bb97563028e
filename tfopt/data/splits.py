"""Samples in memory or streamed, in batches, always in the same order."""

from __future__ import annotations

import abc
import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tfopt.data.arrays import (
    Arrays,
    Batch,
    as_arrays,
    check_finite,
    concatenate,
    leaves,
    length,
    select,
)
from tfopt.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf
    from typing_extensions import Self

_READ = 1024


class _Samples(abc.ABC):
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

    def at(self, positions: np.ndarray) -> Iterator[Batch]:
        """Yields (inputs, outputs) of the samples at some positions, in order, some at a time.

        Args:
            positions: Which samples, ascending, at least one.
        """
        start = 0
        for x, y in self.batches(_READ):
            stop = start + length(x)
            here = positions[(positions >= start) & (positions < stop)] - start
            if len(here):
                yield select(x, here), select(y, here)
            if stop > positions[-1]:
                return
            start = stop

    def take(self, positions: np.ndarray) -> Arrays:
        """Returns the inputs of the samples at some positions.

        Args:
            positions: Which samples, ascending, at least one.
        """
        return concatenate([x for x, _ in self.at(positions)])

    def fingerprint(self) -> str:
        """Returns a sha256 over names, types, shapes and content, in order.

        The same samples have the same fingerprint, in memory or streamed.
        """
        digests: dict[str, Any] = {}
        for batch in self.batches(_READ):
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


class ArraySplit(_Samples):
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

    @classmethod
    def of_inputs(cls, x: Arrays) -> Self:
        """Returns inputs alone as samples, whose labels nobody reads."""
        return cls(x, np.zeros(length(x)))

    @property
    def size(self) -> int:
        """The number of samples."""
        return length(self.x)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yields (inputs, outputs) in order, as views of the arrays."""
        for start in range(0, self.size, batch_size):
            index = slice(start, start + batch_size)
            yield select(self.x, index), select(self.y, index)

    def take(self, positions: np.ndarray) -> Arrays:
        """Returns the inputs of the samples at some positions."""
        return select(self.x, positions)


class DatasetSplit(_Samples):
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
        self._taken: tuple[bytes, Arrays] | None = None

    @property
    def size(self) -> int:
        """The number of samples."""
        return self._size

    def take(self, positions: np.ndarray) -> Arrays:
        """Returns the inputs of the samples at some positions.

        The last ones are kept: finding them takes a pass over the data, and each conversion asks
        for the same.
        """
        key = positions.tobytes()
        if self._taken is None or self._taken[0] != key:
            self._taken = key, super().take(positions)
        return self._taken[1]

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yields (inputs, outputs) in order.

        Raises:
            DataError: The dataset fails, or holds what is not finite.
        """
        import tensorflow as tf

        batches = self.dataset.batch(batch_size).prefetch(2).as_numpy_iterator()
        try:
            for x, y in batches:
                inputs = as_arrays(x, f"the inputs of {self._name}")
                outputs = as_arrays(y, f"the labels of {self._name}")
                check_finite(inputs, f"the inputs of {self._name}")
                check_finite(outputs, f"the labels of {self._name}")
                yield inputs, outputs
        except tf.errors.OpError as error:
            raise DataError(
                received=f"a {self._name} dataset that fails ({_without_places(error.message)})",
                expected="samples of one shape that can be read",
                fix="try it alone: for _ in dataset.batch(32): pass",
            ) from error


Split: TypeAlias = ArraySplit | DatasetSplit
"""The samples of one of train, validation and test, always in the same order."""


def _without_places(message: str) -> str:
    """A message of TensorFlow without the graph nodes it comes from."""
    return re.sub(r"\{\{.*?\}\} ?|\[Op:.*", "", message.splitlines()[0]).strip()
