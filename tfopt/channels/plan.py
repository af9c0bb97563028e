"""How many channels of each group to keep, and the least pruning that reaches an aim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from tfopt.graph.dependencies import Dependencies, Group, without

Allocation = Literal["global", "uniform", "sensitivity"]
"""Whether all groups compete for what is kept, each keeps the same share, or one by what was
measured."""

Shares = Callable[[float], Sequence[float]]
"""The share that each group loses, for a strength between 0 and 1."""

# A group is cut in steps of a quarter of it at the most: multiples are halved until they are.
_COARSEST = 4


class Plan:
    """Which units to keep at a strength between 0 and 1.

    Args:
        dependencies: What goes together.
        scores: (units,), how important each is; comparable within a group, and with
            `allocation="global"` between groups.
        allocation: See `Allocation`.
        shares: What `"sensitivity"` allots; without, each group loses the same share.
        multiple_of: Kept channels are rounded to multiples of so many, halved until a group has
            four of them. Attention heads are not rounded.

    Example:
        >>> from tfopt.graph.dependencies import analyse
        >>> from tfopt.testing import small_cnn
        >>> found = analyse(small_cnn())
        >>> plan = Plan(found, np.arange(found.units), allocation="uniform", multiple_of=8)
        >>> [int(plan.kept(0.5)[group.units].sum()) for group in found.groups]
        [4, 8]
    """

    def __init__(
        self,
        dependencies: Dependencies,
        scores: np.ndarray,
        *,
        allocation: Allocation,
        multiple_of: int,
        shares: Shares | None = None,
    ) -> None:
        self._dependencies = dependencies
        self._allocation = allocation
        self._shares = shares
        self._multiple_of = multiple_of
        # the unit of the highest score first; of equal ones, the first in the layer
        self._ranked = [
            group.units[np.argsort(-scores[group.units], kind="stable")]
            for group in dependencies.groups
        ]
        self._scores = scores
        units = [group.units for group in dependencies.groups]
        self._sorted = np.sort(scores[np.concatenate(units)]) if units else np.zeros(0)
        self._removable = self._find_removable() if allocation == "global" else []

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups that are cut, in the model's order."""
        return self._dependencies.groups

    def _find_removable(self) -> list[int]:
        """The groups that the model can do without, those of least importance first."""
        whole = self._dependencies.everything()
        found = [
            number
            for number, group in enumerate(self._dependencies.groups)
            if without(self._dependencies, whole, [group]) is not None
        ]
        return sorted(found, key=lambda number: float(self._scores[self._ranked[number]].mean()))

    def kept(self, strength: float) -> np.ndarray:
        """Returns the units to keep.

        A group keeps one step at least, but for one that the model can do without (in a residual
        branch, say): where all groups compete, it may go whole, and what hangs on it with it.

        Args:
            strength: The share to remove, before rounding: of all units, or of each group.

        Returns:
            (units,), booleans.
        """
        kept = self._dependencies.everything()
        removed = self._removed(strength)
        for group, ranked, count in zip(
            self._dependencies.groups, self._ranked, removed, strict=True
        ):
            kept[ranked[self._rounded(group, len(ranked) - count) :]] = False
        for number in self._removable:
            if removed[number] >= len(self._ranked[number]):
                emptied = without(self._dependencies, kept, [self._dependencies.groups[number]])
                kept = kept if emptied is None else emptied
        return kept

    def _removed(self, strength: float) -> list[float]:
        """How many units of each group fall, before rounding."""
        if self._allocation != "global":
            shares = self._shares(strength) if self._shares else [strength] * len(self._ranked)
            return [share * len(rank) for share, rank in zip(shares, self._ranked, strict=True)]
        count = round(strength * len(self._sorted))
        if count == 0:
            return [0] * len(self._ranked)
        last = self._sorted[count - 1]
        below = [int((self._scores[ranked] < last).sum()) for ranked in self._ranked]
        tied = [int((self._scores[ranked] == last).sum()) for ranked in self._ranked]
        share = (count - sum(below)) / sum(tied)  # of equal scores, as many as are needed
        return [sure + share * even for sure, even in zip(below, tied, strict=True)]

    def _rounded(self, group: Group, count: float) -> int:
        """How many units of a group to keep, as whole steps."""
        size = len(group.units)
        step = 1 if group.one_by_one else max(1, self._multiple_of // group.width)
        while step > max(1, size // _COARSEST):
            step //= 2
        return min(size, max(step, round(count / step) * step))


def weakest(
    plan: Plan,
    cost: Callable[[np.ndarray], float],
    limit: float,
    *,
    trials: int = 24,
    by_group: bool = True,
) -> np.ndarray | None:
    """Finds the plan of the least strength that costs no more than a limit, by bisection.

    Several groups may lose a step of channels at that strength; those that need not keep it.

    Args:
        plan: The plans to choose from.
        cost: What a mask of kept units costs; less for a stronger plan.
        limit: The most it may cost.
        trials: Plans to look at.
        by_group: Whether to look at each group's last step, which is a trial for each.

    Returns:
        (units,), or None if the strongest costs more.

    Example:
        >>> from tfopt.graph.dependencies import analyse
        >>> from tfopt.testing import small_cnn
        >>> found = analyse(small_cnn())
        >>> plan = Plan(found, np.arange(found.units), allocation="uniform", multiple_of=1)
        >>> int(weakest(plan, lambda kept: kept.sum(), found.units - 6).sum()) == found.units - 6
        True
    """
    low, high, best = 0.0, 1.0, plan.kept(1.0)
    if cost(best) > limit:
        return None
    if cost(whole := plan.kept(0.0)) <= limit:
        return whole
    for _ in range(trials):
        middle = (low + high) / 2
        kept = plan.kept(middle)
        if cost(kept) <= limit:
            high, best = middle, kept
        else:
            low = middle
    weaker = plan.kept(low)
    for group in plan.groups if by_group else ():
        given_back = best.copy()
        given_back[group.units] |= weaker[group.units]
        if best[group.units].any() and cost(given_back) <= limit:
            best = given_back
    return best
