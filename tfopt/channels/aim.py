"""What channel pruning aims at: a share of channels, operations or weights, or a latency."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tfopt.channels.plan import Plan, weakest
from tfopt.errors import TechniqueError
from tfopt.graph.dependencies import Dependencies
from tfopt.graph.slice_cost import Costs
from tfopt.graph.slicing import slice_channels
from tfopt.measure.cost import benchmark
from tfopt.target import Target
from tfopt.tflite.convert import convert

SHARES = ("channels", "macs", "parameters")
AIMS = (*SHARES, "latency_ms")

# A latency is measured, which takes seconds; a share is counted.
_TRIALS = {"latency_ms": 7}


@dataclasses.dataclass(frozen=True)
class Aim:
    """What counts, and how much of it.

    Args:
        name: One of `AIMS`.
        value: The share to remove of the first three; of a latency, the milliseconds to reach.
    """

    name: str
    value: float

    def cost(self, found: Dependencies) -> Callable[[np.ndarray], float]:
        """Returns what counts of the model that is left of a mask of units."""
        if self.name == "latency_ms":
            return _latencies(found)
        costs = Costs(found)
        return lambda kept: float(getattr(costs.of(kept), self.name))

    def limits(self, found: Dependencies, plan: Plan, iterations: int) -> list[float]:
        """Returns the most that may be left after each iteration.

        Args:
            found: What goes together in the model to begin with.
            plan: How it can be pruned.
            iterations: In how many cuts, of the same size each.

        Raises:
            TechniqueError: The strongest plan leaves more than the last.
        """
        cost = self.cost(found)
        emptiest, whole = plan.kept(1.0), found.everything()
        limit = self.value if self.name == "latency_ms" else cost(whole) * (1 - self.value)
        if cost(emptiest) > limit:
            raise self._unreachable(found, emptiest, cost)
        if iterations == 1:
            return [limit]
        start = max(cost(whole), limit)
        shares = (number / iterations for number in range(1, iterations + 1))
        return [start - (start - limit) * share for share in shares]

    def reach(self, found: Dependencies, plan: Plan, limit: float) -> np.ndarray:
        """Returns what to keep: the weakest plan that leaves no more than a limit.

        Returns:
            (units,), booleans.

        Raises:
            TechniqueError: The strongest plan leaves more.
        """
        cost = self.cost(found)
        kept = weakest(plan, cost, limit, trials=_TRIALS.get(self.name, 24))
        if kept is None:
            raise self._unreachable(found, plan.kept(1.0), cost)
        return kept

    def _unreachable(
        self, found: Dependencies, emptiest: np.ndarray, cost: Callable[[np.ndarray], float]
    ) -> TechniqueError:
        """Says how far pruning can go, and what would have to lose all of its channels."""
        left = [group.name for group in found.groups if emptiest[group.units].any()]
        if self.name == "latency_ms":
            least = f"at least {cost(emptiest):.3g} ms, which the emptiest network takes"
        else:
            share = 1 - cost(emptiest) / cost(found.everything())
            least = f"{self.name}={int(share * 1000) / 1000:g} at the most"
        return TechniqueError(
            received=f"{self.name}={self.value:g}, for which every channel of "
            f"{', '.join(left[:5])} would have to go",
            expected=f"{least}, where each group keeps a step of channels",
            fix="aim lower, pass multiple_of=1 for smaller steps, or leave fewer layers out",
        )


def _latencies(found: Dependencies) -> Callable[[np.ndarray], float]:
    """Measures the latency of what a mask leaves, each mask once."""
    known: dict[bytes, float] = {}

    def latency(kept: np.ndarray) -> float:
        key = kept.tobytes()
        if key not in known:
            tflite = convert(slice_channels(found, kept), target=Target.float32())
            known[key] = benchmark(tflite, seconds=1).median_ms
        return known[key]

    return latency
