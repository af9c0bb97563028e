"""An activation's range, made of what samples show."""

from __future__ import annotations

import numpy as np

from tfopt.tflite.calibration.histogram import Histogram, Range

SHARE = 0.9999
"""Of the values, kept by `percentile`."""
DECAY = 0.99
"""Of the weight of a sample in `moving_average`, with each further one."""


def percentile(histogram: Histogram, *, share: float = SHARE) -> Range:
    """Returns the range that holds nearly all values, the rest split between its two ends.

    Args:
        histogram: The values.
        share: How many it holds, 0 to 1. The end of a one-sided activation takes all of the rest.

    Example:
        >>> histogram = Histogram(Range(0.0, 100.0))
        >>> histogram.add(np.linspace(0, 100, 100_000, dtype=np.float32))
        >>> round(percentile(histogram, share=0.99).high, 2)
        99.0

    References:
        McKinstry et al., "Discovering Low-Precision Networks Close to Full-Precision Networks for
        Efficient Embedded Inference", 2018, section 3.2; Wu et al., "Integer Quantization for Deep
        Learning Inference", 2020, section 4.
    """
    low, high = histogram.extremes
    outside = (1 - share) * histogram.total / (2 if low and high else 1)
    return Range(
        -min(-low, _leaving_out(histogram.negative, outside) * histogram.width),
        min(high, _leaving_out(histogram.positive, outside) * histogram.width),
    )


def moving_average(extremes: np.ndarray, *, decay: float = DECAY) -> Range:
    """Returns the mean of the samples' own ranges, later samples weighing more.

    Divided by the sum of the weights, so that the first sample weighs no more than it should.

    Args:
        extremes: The smallest and the largest value in each sample, (samples, 2), in order.
        decay: What a sample weighs against the next one, 0 to 1.

    Example:
        >>> moving_average(np.array([[-1.0, 2.0], [-3.0, 4.0]]), decay=1.0)
        Range(low=-2.0, high=3.0)

    References:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018, section 3.1.
    """
    weights = decay ** np.arange(len(extremes))[::-1].astype(np.float64)
    low, high = np.average(extremes.astype(np.float64), axis=0, weights=weights)
    return Range(min(float(low), 0.0), max(float(high), 0.0))


def _leaving_out(counts: np.ndarray, outside: float) -> float:
    """Returns the place, in bins from zero, beyond which there are `outside` values."""
    beyond = np.append(np.cumsum(counts[::-1])[::-1], 0)
    inside = np.flatnonzero(beyond > outside)
    if not len(inside):
        return 0.0
    last = int(inside[-1])
    return last + float((beyond[last] - outside) / (beyond[last] - beyond[last + 1]))
