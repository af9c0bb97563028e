"""The range that loses least information."""

from __future__ import annotations

import numpy as np

from tfopt.tflite.calibration.grid import Grid
from tfopt.tflite.calibration.histogram import BINS, Histogram, Range

_STRIDE = 8  # bins between the thresholds tried
_UNLIKELY = 1e-4  # the share of values in a bin where integers tell of none


def least_divergence(histogram: Histogram, grid: Grid) -> Range:
    """Returns the range whose integers keep the distribution of the values best.

    A threshold on the magnitude is chosen, as for TensorRT: the smallest Kullback-Leibler
    divergence from the distribution clipped there to the one that integers can tell apart. There
    half of the integers are below zero; here the longer side has what the grid gives it, all of
    them for the output of a ReLU. With more integers than bins nothing is lost by the widest range.

    Args:
        histogram: The values.
        grid: The integers.

    Example:
        >>> histogram = Histogram(Range(0.0, 100.0))
        >>> values = np.random.default_rng(0).exponential(size=100_000)
        >>> histogram.add(np.append(values, 100).astype(np.float32))
        >>> 10 < least_divergence(histogram, Grid(255)).high < 20
        True

    References:
        Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017.
    """
    low, high = histogram.extremes
    largest = max(-low, high)
    span = 2 * largest if grid.symmetric else high - low
    levels = int(np.rint((grid.steps + 1) * largest / span)) if span else BINS
    if levels >= BINS:
        return histogram.extremes
    magnitudes = np.zeros(BINS, np.int64)
    for counts in (histogram.positive, histogram.negative):
        magnitudes[: len(counts)] += counts
    thresholds = range(BINS, levels - 1, -_STRIDE)  # the widest of equal ones
    divergences = [_divergence(magnitudes, kept, levels) for kept in thresholds]
    threshold = thresholds[int(np.argmin(divergences))] * histogram.width
    return Range(max(low, -threshold), min(high, threshold))


def _divergence(counts: np.ndarray, kept: int, levels: int) -> float:
    """Returns by how much merging the first bins into levels changes the clipped distribution."""
    clipped = counts[:kept].astype(np.float64)
    starts = np.arange(levels) * kept // levels
    merged = np.add.reduceat(clipped, starts)
    clipped[-1] += counts[kept:].sum()
    there = clipped > 0
    sharing = np.add.reduceat(there.astype(np.int64), starts)
    sizes = np.diff(np.append(starts, kept))
    told = np.repeat(merged / np.maximum(sharing, 1), sizes)[there]
    clipped = clipped[there]
    # clipped values may fall where there were none, which must not forbid clipping a lone outlier
    told = np.where(told > 0, told, _UNLIKELY * clipped.sum())
    return float(np.sum(clipped * np.log(clipped / told)) / clipped.sum()) + float(
        np.log(told.sum() / clipped.sum())
    )
