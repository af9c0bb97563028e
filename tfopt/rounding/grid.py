"""Where the weights of a kernel stand among the numbers the file can hold."""

from __future__ import annotations

import dataclasses

import numpy as np

# A weight so near the end of the range, in steps, is at the end.
_END = 1e-3


@dataclasses.dataclass(frozen=True)
class Grid:
    """Weights in steps of their channel's scale.

    The exporter takes a channel's scale from its largest magnitude. So a weight at the end of the
    range, or cut off there, becomes the largest integer and no other, and there is one in each
    channel: the exporter finds the scale again, and with it all integers. Zeros stay zeros.

    Args:
        steps: Weights / scale, float32, cut off at the largest integer. Of any shape.
        scale: What a step is worth, float32, of a shape that goes with `steps`.
        largest: The largest integer.
    """

    steps: np.ndarray
    scale: np.ndarray
    largest: int

    @classmethod
    def of(cls, weights: np.ndarray, scale: np.ndarray, largest: int) -> Grid:
        """The grid of weights and scales.

        Example:
            >>> Grid.of(np.array([-3.0, 0.2, 0.0, 1.0]), np.array([0.5]), 4).nearest()
            array([-4.,  0.,  0.,  2.], dtype=float32)
        """
        steps = np.divide(weights, scale, out=np.zeros(weights.shape), where=scale > 0)
        clipped = steps.clip(-largest, largest).astype(np.float32)
        return cls(clipped, scale.astype(np.float32), largest)

    @property
    def fixed(self) -> np.ndarray:
        """Which weights have no choice: zeros, and those at the end of the range."""
        return (self.steps == 0) | (np.abs(self.steps) >= self.largest - _END)

    def nearest(self) -> np.ndarray:
        """The nearest integers, as float32."""
        return np.rint(self.steps)

    def weights(self, integers: np.ndarray) -> np.ndarray:
        """Integers as weights, float32."""
        return (integers * self.scale).astype(np.float32)
