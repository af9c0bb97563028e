"""The integers of an activation and the real numbers they stand for."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Grid:
    """The integers an activation has, as the converter lays them over a range.

    Args:
        steps: How many steps there are between the smallest and the largest integer.
        symmetric: Whether zero stands in the middle: 16-bit activations have no zero point.
    """

    steps: int
    symmetric: bool = False

    def laid_over(
        self, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the size of a step and the smallest and largest number, zero being on the grid.

        Args:
            low: Lower ends of ranges, at most 0.
            high: Upper ends, at least 0.

        Example:
            >>> step, low, high = Grid(255).laid_over(np.array([-1.0]), np.array([1.55]))
            >>> step.round(4), low.round(4), high.round(4)
            (array([0.01]), array([-1.]), array([1.55]))

        References:
            Jacob et al., "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", CVPR 2018, section 3.1 (the nudged zero point).
        """
        if self.symmetric:
            largest = np.maximum(-low, high)
            return 2 * largest / self.steps, -largest, largest
        step = (high - low) / self.steps
        below = np.rint(-low / step)
        return step, -below * step, (self.steps - below) * step


INT8 = Grid(steps=255)
INT16 = Grid(steps=2 * 32767, symmetric=True)
