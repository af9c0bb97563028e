"""What channel pruning aims at: a share of channels, operations or weights, or a latency."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tfopt.channels.plan import Plan, weakest
from tfopt.errors import SettingError, TechniqueError, nearest
from tfopt.graph.dependencies import Dependencies
from tfopt.graph.slice_cost import Costs
from tfopt.graph.slicing import slice_channels
from tfopt.graph.stepping import random_inputs
from tfopt.keras_gate import tf_keras
from tfopt.measure.cost import benchmark
from tfopt.settings import check_positive, check_share
from tfopt.target import Target
from tfopt.tflite.convert import FloatOpsWarning, convert
from tfopt.tflite.likeness import InexactFileWarning

if TYPE_CHECKING:
    from tfopt.data import Arrays

SHARES = ("channels", "macs", "parameters")
AIMS = (*SHARES, "latency_ms")

Numbers = Literal["float32", "int8"]
"""What a file computes with whose latency is measured."""

# A latency is measured, which takes seconds; a share is counted.
_TRIALS = {"latency_ms": 7}


@dataclasses.dataclass(frozen=True)
class Aim:
    """What counts, and how much of it.

    Args:
        name: One of `AIMS`.
        value: The share to remove of the first three; of a latency, the milliseconds to reach.
        numbers: Of a latency, what the file computes with.
    """

    name: str
    value: float
    numbers: Numbers = "int8"

    @property
    def field(self) -> str:
        """What the layers' sensitivity is weighed against: `"weights"` or `"macs"`."""
        return "weights" if self.name == "parameters" else "macs"

    def cost(
        self, found: Dependencies, *, like: Arrays | None = None
    ) -> Callable[[np.ndarray], float]:
        """Returns what counts of the model that is left of a mask of units.

        Args:
            found: What goes together in the model.
            like: Samples: a latency counts with sizes like theirs where the model leaves any open.
        """
        if self.name == "latency_ms":
            return _latencies(found, self.numbers, like)
        costs = Costs(found)
        return lambda kept: float(getattr(costs.of(kept), self.name))

    def limits(
        self, found: Dependencies, plan: Plan, iterations: int, *, like: Arrays | None = None
    ) -> list[float]:
        """Returns the most that may be left after each iteration.

        Args:
            found: What goes together in the model to begin with.
            plan: How it can be pruned.
            iterations: In how many cuts, of the same size each.
            like: As in `cost`.

        Raises:
            TechniqueError: The strongest plan leaves more than the last.
        """
        cost = self.cost(found, like=like)
        emptiest, whole = plan.kept(1.0), found.everything()
        limit = self.value if self.name == "latency_ms" else cost(whole) * (1 - self.value)
        if cost(emptiest) > limit:
            raise self._unreachable(found, emptiest, cost)
        if iterations == 1:
            return [limit]
        start = max(cost(whole), limit)
        shares = (number / iterations for number in range(1, iterations + 1))
        return [start - (start - limit) * share for share in shares]

    def reach(
        self, found: Dependencies, plan: Plan, limit: float, *, like: Arrays | None = None
    ) -> np.ndarray:
        """Returns what to keep: the weakest plan that leaves no more than a limit.

        Args:
            found: What goes together in the model.
            plan: How it can be pruned.
            limit: The most that may be left.
            like: As in `cost`.

        Returns:
            (units,), booleans.

        Raises:
            TechniqueError: The strongest plan leaves more.
        """
        cost = self.cost(found, like=like)
        trials, counted = _TRIALS.get(self.name, 24), self.name in SHARES
        kept = weakest(plan, cost, limit, trials=trials, by_group=counted)
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
            fix=f"{'allow more time' if self.name == 'latency_ms' else 'aim lower'}, pass "
            "multiple_of=1 for smaller steps, or leave fewer layers out",
        )


def aim_of(values: Mapping[str, float | None], numbers: Numbers) -> Aim:
    """Returns the aim of a technique's settings.

    Args:
        values: One of `AIMS` each, of which all but one are None.
        numbers: For a latency, what the file computes with.

    Raises:
        SettingError: There is not exactly one, or it is out of its range.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if len(given) != 1:
        told = " and ".join(f"{name}={value}" for name, value in given.items())
        raise SettingError(
            received=f"{told} together" if given else "no aim",
            expected=f"exactly one of {', '.join(AIMS)}",
            fix="pass channels=0.5 to remove half of the channels" if not given else "keep one",
        )
    ((name, value),) = given.items()
    if name in SHARES:
        check_share("pass the share to remove, such as 0.5", whole=False, **{name: value})
    else:
        check_positive("see the milliseconds of the baseline in a report", **{name: value})
    if numbers not in get_args(Numbers):
        raise SettingError(
            received=f"latency_numerics={numbers!r}",
            expected=nearest(str(numbers), get_args(Numbers)),
            fix="name what the device computes with",
        )
    return Aim(name, value, numbers)


def _latencies(
    found: Dependencies, numbers: Numbers, like: Arrays | None
) -> Callable[[np.ndarray], float]:
    """Measures the latency of what a mask leaves, each mask once."""
    known: dict[bytes, float] = {}
    arrays = random_inputs(found.model, like=like)
    samples = dict(zip(found.model.input_names, arrays, strict=True))

    def latency(kept: np.ndarray) -> float:
        key = kept.tobytes()
        if key not in known:
            tflite = _file(slice_channels(found, kept), numbers, samples)
            known[key] = benchmark(tflite, seconds=1).median_ms
        return known[key]

    return latency


def _file(model: tf_keras.Model, numbers: Numbers, samples: dict[str, np.ndarray]) -> bytes:
    """A file whose latency is what counts: any samples of its size will do."""
    if numbers == "float32":
        return convert(model, target=Target.float32(), representative=samples)
    target = Target.int8(allow_float_ops=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FloatOpsWarning)
        warnings.simplefilter("ignore", InexactFileWarning)
        return convert(model, target=target, representative=samples)
