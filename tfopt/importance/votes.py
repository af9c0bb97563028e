"""Scores of units made of what several layers say of their channels."""

from __future__ import annotations

import numpy as np

from tfopt.graph.dependencies import Dependencies


class Votes:
    """Adds up what each layer says of its channels, and takes the mean for each unit.

    Args:
        dependencies: What goes together.
        relative: Divide what a layer says by its mean, so that each counts alike, and the units of
            all layers can be compared.

    Example:
        >>> from tfopt.graph.dependencies import analyse
        >>> from tfopt.testing import dense_net
        >>> found = analyse(dense_net())
        >>> units = found.groups[0].units
        >>> votes = Votes(found)
        >>> votes.add(units, np.arange(32))
        >>> float(votes.mean()[units[-1]])
        2.0
    """

    def __init__(self, dependencies: Dependencies, *, relative: bool = True) -> None:
        self._sum = np.zeros(dependencies.units)
        self._count = np.zeros(dependencies.units)
        self._relative = relative

    def add(self, units: np.ndarray, values: np.ndarray) -> None:
        """Takes what one layer says: a value for each position, the unit of each being given."""
        mean = values.mean() if self._relative else 1.0
        np.add.at(self._sum, units, values / mean if mean > 0 else values)
        np.add.at(self._count, units, 1)

    def mean(self, *, unknown: float = 0.0) -> np.ndarray:
        """Returns the mean for each unit; `unknown` for one of which nothing was said."""
        known = self._count > 0
        return np.where(known, self._sum / np.maximum(self._count, 1), unknown)
