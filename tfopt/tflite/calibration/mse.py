"""The range with the smallest mean squared error."""

from __future__ import annotations

import numpy as np

from tfopt.tflite.calibration.grid import Grid
from tfopt.tflite.calibration.histogram import Histogram, Range

# Shares of an end that are tried; finer than the error's flat bottom.
_SHARES = np.linspace(1.0, 0.02, 99)
_ROUNDS = 2


def smallest_error(histogram: Histogram, grid: Grid) -> Range:
    """Returns the range whose integers are nearest to the values, in the mean square.

    Clipping a few large values makes the steps smaller for all others. Both ends are drawn in
    together first, and then one after the other.

    Args:
        histogram: The values.
        grid: The integers.

    Example:
        >>> histogram = Histogram(Range(0.0, 100.0))
        >>> histogram.add(np.append(np.linspace(0.1, 10, 1_000_000), 100).astype(np.float32))
        >>> 30 < smallest_error(histogram, Grid(255)).high < 60
        True

    References:
        Sung, Shin and Hwang, "Resiliency of Deep Neural Networks under Quantization", 2015; Banner
        et al., "Post Training 4-bit Quantization of Convolutional Networks for
        Rapid-Deployment", NeurIPS 2019, section 3 (clipping).
    """
    low, high = histogram.extremes
    if grid.symmetric or not low or not high:
        return _best(histogram, grid, _SHARES * low, _SHARES * high)
    best = _best(histogram, grid, _SHARES * low, _SHARES * high)
    whole = np.ones_like(_SHARES)
    for _ in range(_ROUNDS):
        best = _best(histogram, grid, _SHARES * low, whole * best.high)
        best = _best(histogram, grid, whole * best.low, _SHARES * high)
    return best


def squared_error(
    histogram: Histogram, grid: Grid, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Returns the mean squared error of rounding and clipping the values, for each of some ranges.

    Exact for values spread evenly within their bins, however the steps lie among these: on a
    coarse histogram, errors at the middles of bins would say little of a narrow range.

    Args:
        histogram: The values.
        grid: The integers.
        low: The ranges' lower ends, at most 0.
        high: The ranges' upper ends, at least 0; none is 0 at both ends.

    Example:
        >>> histogram = Histogram(Range(0.0, 25.5))
        >>> histogram.add(np.linspace(0, 25.5, 100_000, dtype=np.float32))
        >>> squared_error(histogram, Grid(255), np.zeros(1), np.full(1, 25.5)).round(6)
        array([0.000833])
    """
    step, lowest, highest = grid.laid_over(low, high)
    total = _side(histogram.positive, histogram.width, step, highest)
    total += _side(histogram.negative, histogram.width, step, -lowest)
    return total / max(histogram.total, 1)


def _best(histogram: Histogram, grid: Grid, low: np.ndarray, high: np.ndarray) -> Range:
    best = int(np.argmin(squared_error(histogram, grid, low, high)))  # the widest of equal ones
    return Range(float(low[best]), float(high[best]))


def _side(counts: np.ndarray, width: float, step: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Sums the squared errors of the values on one side of zero.

    Their integral from 0 to an edge, for each edge and range, differs between the edges of a bin
    by the bin's width times its mean error.
    """
    edges = width * np.arange(len(counts) + 1)
    step, limit = step[:, None], limit[:, None]
    inside = np.minimum(edges, limit) / step
    nearest = np.floor(inside + 0.5)
    integral = step**3 * (nearest / 12 + (inside - nearest) ** 3 / 3)
    integral += np.maximum(edges - limit, 0) ** 3 / 3
    errors: np.ndarray = np.diff(integral, axis=1) @ counts / width
    return errors
