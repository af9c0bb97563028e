"""How far two models' outputs are apart."""

from __future__ import annotations

import numpy as np


def difference(expected: np.ndarray, received: np.ndarray) -> float:
    """Returns the largest difference as a share of the largest value; infinite where NaN differ.

    Example:
        >>> difference(np.array([1.0, -4.0]), np.array([1.0, -3.0]))
        0.25
    """
    if expected.shape != received.shape or expected.size == 0:
        return 0.0 if expected.shape == received.shape else np.inf
    expected, received = expected.astype(np.float64), received.astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], received[~finite], equal_nan=True):
        return np.inf
    scale = max(float(np.max(np.abs(expected[finite]), initial=0.0)), 1e-3)
    return float(np.max(np.abs(expected - received)[finite], initial=0.0)) / scale
