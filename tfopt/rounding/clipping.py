"""The range of a kernel's weights: all of them, or less where fine steps are worth more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

Ranges = Literal["max", "mse", "octav"]

_SHARES = np.arange(1.0, 0.295, -0.01)
_NEWTON_STEPS = 20


def scales(matrix: np.ndarray, *, largest: int, ranges: Ranges) -> np.ndarray:
    """Returns what one step of the grid is worth in each output channel.

    Args:
        matrix: Weights, (groups, inputs, outputs).
        largest: The largest integer of the grid.
        ranges: `"max"` reaches to the largest magnitude; `"mse"` to where the squared error of
            nearest rounding is smallest, found by trying; `"octav"` to where it is smallest if
            rounding errors are uniform, by Newton's method.

    Returns:
        (groups, 1, outputs), never above what `"max"` gives; zero for a channel of zeros.

    Example:
        >>> weights = np.array([0.5, 0.5, 0.5, 1.0]).reshape(1, 4, 1)
        >>> [scales(weights, largest=1, ranges=ranges).item() for ranges in ("max", "octav")]
        [1.0, 0.8]

    References:
        Nagel et al., A White Paper on Neural Network Quantization, 2021, section 3.1 (`mse`). Sakr
        et al., Optimal Clipping and Magnitude-aware Differentiation for Improved Quantization-aware
        Training, 2022, equation 5 (`octav`).
    """
    methods: dict[Ranges, Callable[[np.ndarray, int], np.ndarray]] = {
        "max": _max,
        "mse": _mse,
        "octav": _octav,
    }
    return methods[ranges](matrix, largest)


def _max(matrix: np.ndarray, largest: int) -> np.ndarray:
    """The largest magnitude becomes the largest integer."""
    return np.abs(matrix).max(axis=1, keepdims=True) / largest


def _mse(matrix: np.ndarray, largest: int) -> np.ndarray:
    """The best of some shares of the whole range."""
    whole = _max(matrix, largest)
    best, least = whole, np.full(whole.shape, np.inf)
    for share in _SHARES:
        scale = whole * share
        steps = np.divide(matrix, scale, out=np.zeros_like(matrix), where=scale > 0)
        rounded = np.rint(steps).clip(-largest, largest) * scale
        error = np.square(rounded - matrix).sum(axis=1, keepdims=True)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def _octav(matrix: np.ndarray, largest: int) -> np.ndarray:
    """Newton's method on the expected error; zeros have none."""
    sizes = np.abs(matrix)
    clip = sizes.mean(axis=1, keepdims=True)
    for _ in range(_NEWTON_STEPS):
        beyond = sizes > clip
        within = ((sizes > 0) & ~beyond).sum(axis=1, keepdims=True)
        weight = within / (12 * largest**2) + beyond.sum(axis=1, keepdims=True)
        total = np.where(beyond, sizes, 0).sum(axis=1, keepdims=True)
        clip = np.divide(total, weight, out=np.zeros_like(clip), where=weight > 0)
    whole = sizes.max(axis=1, keepdims=True)
    return np.where((clip > 0) & (clip < whole), clip, whole) / largest
