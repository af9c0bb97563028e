"""Spreading an aim over the layers of a model so that it suffers least, by measured curves."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from tfopt.sensitivity.records import Curve

# Outputs that have nothing in common with those of before: more harm than that cannot be told.
_LEAST_LEFT = 1e-3


@dataclasses.dataclass(frozen=True)
class _Stretch:
    """A piece of a layer's curve, over which harm grows with what is saved at one rate."""

    name: str
    start: float
    stop: float
    saved: int
    harm: float


class Spread:
    """How far to change each layer, for any amount that is to be saved over all.

    The curve of each layer is taken as its lower convex hull, and what costs least harm for a
    weight (or operation) is spent first: the least harm in all, if the harm of several layers is
    the sum of theirs. Harm is the logarithm of how little of the outputs' variance is left, so that
    it does not end where a layer is destroyed.

    Args:
        curves: What was measured.
        field: What counts: `"weights"` or `"macs"`.
        starts: The strength that a layer has already, by name, and that costs nothing: the share of
            zeros it came with, say. None for 0 everywhere.

    Example:
        >>> from tfopt.sensitivity.records import Point
        >>> tough = Curve("tough", (Point(0.5, 50, 50, 0.01), Point(0.9, 90, 90, 0.1)))
        >>> frail = Curve("frail", (Point(0.5, 50, 50, 0.3), Point(0.9, 90, 90, 0.9)))
        >>> spread = Spread([tough, frail], "weights")
        >>> {name: round(strength, 2) for name, strength in spread.strengths(0.5).items()}
        {'tough': 0.9, 'frail': 0.0}

    References:
        Shoham and Gersho, Efficient Bit Allocation for an Arbitrary Set of Quantizers, 1988 (the
        hull and its slopes); Li et al., Pruning Filters for Efficient ConvNets, 2017, section 3.2
        (one layer at a time).
    """

    def __init__(
        self, curves: Sequence[Curve], field: str, *, starts: Mapping[str, float] | None = None
    ) -> None:
        self._starts = {curve.name: (starts or {}).get(curve.name, 0.0) for curve in curves}
        stretches = [
            stretch for curve in curves for stretch in _hull(curve, field, self._starts[curve.name])
        ]
        # within a layer the rates rise, so that its stretches stay in their order
        self._stretches = sorted(stretches, key=lambda one: one.harm / one.saved)
        self.total = sum(stretch.saved for stretch in stretches)
        """What the strongest changes save together."""

    def strengths(self, share: float) -> dict[str, float]:
        """Returns the strength for each layer that saves a share of the total.

        Args:
            share: 0 to 1; more of it never asks less of a layer.
        """
        found = dict(self._starts)
        left = share * self.total
        for stretch in self._stretches:
            part = min(1.0, left / stretch.saved)
            found[stretch.name] = stretch.start + part * (stretch.stop - stretch.start)
            left -= stretch.saved
            if left <= 0:
                break
        return found

    def in_order(self, share: float) -> list[float]:
        """Returns the strengths in the order of the curves; a layer without one goes along."""
        found = self.strengths(share)
        measured = {stretch.name for stretch in self._stretches}
        return [found[name] if name in measured else share for name in self._starts]


def _hull(curve: Curve, field: str, start: float) -> list[_Stretch]:
    """The lower convex hull of a curve from nothing on, stretch by stretch."""
    corners = [(start, 0, 0.0)]
    for point in curve.points:
        saved = getattr(point, field)
        if saved <= corners[-1][1]:
            continue
        corner = (point.strength, saved, max(harm(point.error), 0.0))
        while len(corners) > 1 and _rate(corners[-1], corner) <= _rate(corners[-2], corners[-1]):
            corners.pop()
        corners.append(corner)
    return [
        _Stretch(curve.name, before[0], behind[0], behind[1] - before[1], behind[2] - before[2])
        for before, behind in itertools.pairwise(corners)
    ]


def _rate(before: tuple[float, int, float], behind: tuple[float, int, float]) -> float:
    """Harm for each thing saved between two corners."""
    return (behind[2] - before[2]) / (behind[1] - before[1])


def harm(error: float) -> float:
    """Returns how much an error of the outputs counts: about itself if small, without an end.

    Args:
        error: As a share of the outputs' variance.

    Example:
        >>> round(harm(0.01), 3), round(harm(0.9), 3), harm(1.2) > harm(1.0) > 6
        (0.01, 2.303, True)
    """
    left = max(1 - error, _LEAST_LEFT)
    return -math.log(left) + max(0.0, min(error, 1e6) - 1)
