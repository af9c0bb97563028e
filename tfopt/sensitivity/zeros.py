"""How many zeros each kernel of a model gets, so that together they make up a sparsity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfopt.sensitivity.allocation import Spread
from tfopt.sensitivity.records import Curve


def zeros(
    sizes: Mapping[str, int],
    curves: Sequence[Curve],
    sparsity: float,
    *,
    present: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Returns the share of zeros of each kernel that harms the outputs least.

    Args:
        sizes: The number of weights of each kernel, by name.
        curves: What zeros do to each, by the same names.
        sparsity: The share of zeros of all weights together, 0 to below 1.
        present: The share of zeros that each kernel came with, which it keeps; None for none.

    Example:
        >>> from tfopt.sensitivity.records import Point
        >>> tough = Curve("tough", (Point(0.9, 90, 90, 0.1),))
        >>> frail = Curve("frail", (Point(0.9, 90, 90, 0.9),))
        >>> found = zeros({"tough": 100, "frail": 100}, [tough, frail], 0.5)
        >>> {name: round(share, 2) for name, share in found.items()}
        {'tough': 0.9, 'frail': 0.1}
    """
    present = present or {}
    spread = Spread(curves, "weights", starts=present)
    wanted = sparsity * sum(sizes.values())

    def shares(part: float) -> dict[str, float]:
        if part <= 1:
            strengths = spread.strengths(part)
        else:  # beyond the strongest changes that were measured, all the same way to the end
            most = spread.strengths(1.0)
            strengths = {name: share + (part - 1) * (1 - share) for name, share in most.items()}
        return {name: strengths.get(name, present.get(name, 0.0)) for name in sizes}

    low, high = 0.0, 2.0
    for _ in range(50):
        middle = (low + high) / 2
        reached = sum(share * sizes[name] for name, share in shares(middle).items())
        low, high = (low, middle) if reached >= wanted else (middle, high)
    return shares(high)


def competing(kernels: Sequence[np.ndarray], sparsity: float) -> list[float]:
    """Returns the share of zeros of each kernel where all weights compete.

    A weight counts by its square as a share of the squares of its kernel's that are as large or
    larger, so that no kernel is emptied for being small in scale.

    Args:
        kernels: The weights.
        sparsity: The share of zeros of all together, 0 to below 1.

    Example:
        >>> kernels = [np.array([1.0, 1.0, 1.0, 5.0]), np.array([9.0, 8.0, 9.0, 8.0])]
        >>> competing(kernels, 0.5)
        [0.75, 0.25]

    References:
        Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, 2021, equation 3.
    """
    scores = []
    for kernel in kernels:
        squares = np.sort(np.square(kernel.astype(np.float64)), axis=None)
        left = np.cumsum(squares[::-1])[::-1]
        scores.append(squares / np.maximum(left, np.finfo(np.float64).tiny))
    owners = np.repeat(np.arange(len(kernels)), [kernel.size for kernel in kernels])
    order = np.argsort(np.concatenate(scores), kind="stable")
    fallen = np.bincount(owners[order[: round(sparsity * len(owners))]], minlength=len(kernels))
    return [int(count) / kernel.size for count, kernel in zip(fallen, kernels, strict=True)]
