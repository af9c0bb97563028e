"""How often an activation takes which value."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

BINS = 2048
"""Bins from zero to the largest magnitude; the other side has bins of the same width."""


class Range(NamedTuple):
    """The real numbers that an activation's integers reach from and to; zero is among them."""

    low: float
    high: float


@dataclasses.dataclass(eq=False)
class Histogram:
    """Counts of an activation's values in bins of one width, one edge being zero.

    Zeros are counted apart: an integer stands for zero exactly whatever the range, and a ReLU
    makes so many of them that they would hide the rest.

    Args:
        extremes: The smallest and the largest value there are.

    Example:
        >>> histogram = Histogram(Range(-1.0, 4.0))
        >>> histogram.add(np.array([-0.5, 0.0, 0.0, 3.0], np.float32))
        >>> histogram.zeros, int(histogram.negative.sum()), int(histogram.positive.sum())
        (2, 1, 1)
    """

    extremes: Range

    def __post_init__(self) -> None:
        low, high = self.extremes
        self.extremes = Range(min(float(low), 0.0), max(float(high), 0.0))
        self.width = max(-self.extremes.low, self.extremes.high) / BINS or 1.0
        self._below, above = (int(np.ceil(abs(end) / self.width - 1e-6)) for end in self.extremes)
        self._counts = np.zeros(self._below + above, np.int64)
        self.zeros = 0

    @property
    def positive(self) -> np.ndarray:
        """Counts of the bins above zero, going up."""
        return self._counts[self._below :]

    @property
    def negative(self) -> np.ndarray:
        """Counts of the bins below zero, going down."""
        return self._counts[: self._below][::-1]

    @property
    def total(self) -> int:
        """How many values there are, zeros included."""
        return int(self._counts.sum()) + self.zeros

    def add(self, values: np.ndarray) -> None:
        """Counts values; those beyond the extremes, by rounding, go to the bins at the ends.

        Args:
            values: Finite numbers, of any shape.
        """
        values = values.reshape(-1)
        zeros = values.size - int(np.count_nonzero(values))
        self.zeros += zeros
        if not self._counts.size:
            return
        places = np.floor(values * np.float32(1 / self.width)).astype(np.int32)
        places += self._below
        np.clip(places, 0, len(self._counts) - 1, out=places)
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._counts[min(self._below, len(self._counts) - 1)] -= zeros
