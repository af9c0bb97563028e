"""The ranks of a model's layers by what was measured: for an aim, or for a largest drop."""

from __future__ import annotations

from collections.abc import Callable

from tfopt.factorization.plan import Planner
from tfopt.sensitivity.allocation import Spread
from tfopt.sensitivity.bench import Bench
from tfopt.sensitivity.probes import factorized

_TRIALS = 16


def reached(planner: Planner, spread: Spread, field: str, wanted: int) -> dict[str, float] | None:
    """Returns the energy for each layer with which the model saves so much, at the least harm.

    Args:
        planner: The layers that can be factorized.
        spread: How what is saved is spread over them.
        field: What is saved: `"macs"` or `"weights"`.
        wanted: How much of it.

    Returns:
        The energies; None if even ranks of 1 do not save enough.
    """

    def saves(energies: dict[str, float]) -> bool:
        choices = planner.choices(energies).values()
        return sum(getattr(choice.saved, field) for choice in choices) >= wanted

    return _weakest(planner, spread, saves)


def searched(bench: Bench, planner: Planner, spread: Spread, drop: float) -> dict[str, float]:
    """Returns the energies that save most with which the metric drops no more than a limit.

    Args:
        bench: The model, with labels; nothing is trained.
        planner: The layers that can be factorized.
        spread: How what is saved is spread over them.
        drop: The most that the metric may drop, in its units.
    """
    assert bench.metric is not None
    sign = 1 if bench.higher_is_better else -1
    limit = sign * bench.metric - drop

    def suffers(energies: dict[str, float]) -> bool:
        changes = [
            factorized(bench.model, planner, name, energy)
            for name, energy in energies.items()
            if name in planner.choices({name: energy})
        ]
        metric = bench.measured(changes)[1]
        assert metric is not None
        return sign * metric < limit

    low, high = 0.0, 1.0
    if not suffers(_energies(planner, spread, 1.0)):
        return _energies(planner, spread, 1.0)
    for _ in range(_TRIALS // 2):
        middle = (low + high) / 2
        low, high = (low, middle) if suffers(_energies(planner, spread, middle)) else (middle, high)
    return _energies(planner, spread, low)


def _weakest(
    planner: Planner, spread: Spread, enough: Callable[[dict[str, float]], bool]
) -> dict[str, float] | None:
    """The least that is enough; beyond what was measured all layers go on alike to a rank of 1."""
    if not enough(_energies(planner, spread, 2.0)):
        return None
    low, high = 0.0, 2.0
    for _ in range(_TRIALS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(_energies(planner, spread, middle)) else (middle, high)
    return _energies(planner, spread, high)


def _energies(planner: Planner, spread: Spread, part: float) -> dict[str, float]:
    """The energy of each layer for a part of what can be saved; above 1, ever less of all."""
    strengths = spread.strengths(min(part, 1.0))
    energies = {
        name: energy
        for name, strength in strengths.items()
        if strength > 0 and (energy := planner.energy_saving(name, strength)) is not None
    }
    if part <= 1:
        return energies
    return {name: energies.get(name, 1.0) * (2 - part) for name in planner.layers}
