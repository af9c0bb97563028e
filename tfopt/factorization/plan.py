"""Which layers of a model are worth factorizing, and how far: one share of energy for all."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from tfopt.factorization.factors import (
    ChannelSVD,
    Extent,
    Factorization,
    SpatialSVD,
    Tucker2,
)
from tfopt.graph.calls import KerasTensor, Layer, Node, nodes, outputs
from tfopt.graph.cost import Cost, call_cost
from tfopt.graph.kernels import constraint_of
from tfopt.graph.sizes import Sizes, nominal_sizes
from tfopt.keras_gate import tf_keras

_layers = tf_keras.layers
_FACTORIZABLE = (_layers.Dense, _layers.Conv1D, _layers.Conv2D)
_PRECISION = 1e-4


@dataclasses.dataclass(frozen=True)
class Choice:
    """How one layer is factorized.

    Args:
        factorization: The product.
        ranks: Its ranks.
        before: What the layer costs, in all its calls.
    """

    factorization: Factorization
    ranks: tuple[int, ...]
    before: Cost

    @property
    def saved(self) -> Cost:
        """What the product costs less than the layer."""
        after = self.factorization.cost(self.ranks)
        return Cost(self.before.macs - after.macs, self.before.weights - after.weights)


class Planner:
    """The layers of a model that can be factorized, with their decompositions.

    Args:
        model: A functional model; sizes it leaves open are taken as 64.
        method: `"spatial"` or `"tucker"` for convolutions with an extent; `"auto"` takes the one
            that costs less, layer by layer.
        touched: Names of the layers that may be factorized.
    """

    def __init__(self, model: tf_keras.Model, method: str, touched: Collection[str]) -> None:
        sizes = nominal_sizes(model)
        calls: dict[str, list[Node]] = defaultdict(list)
        for node in nodes(model):
            if node.layer.name in touched:
                calls[node.layer.name].append(node)
        self._before = {name: _cost(made, sizes) for name, made in calls.items()}
        self._ways = {name: _ways(made, sizes, method) for name, made in calls.items()}

    def at(self, energy: float | Mapping[str, float]) -> dict[str, Choice]:
        """Returns each layer's cheapest product that keeps the energy, whether it pays or not.

        Args:
            energy: The share of the energy of its kernel that each layer keeps, 0 to 1, or shares
                by layer; layers not named stay as they are.
        """
        found = {}
        for name, ways in self._ways.items():
            share = energy.get(name, 1.0) if isinstance(energy, Mapping) else energy
            if share < 1:
                choices = [Choice(way, way.ranks(share), self._before[name]) for way in ways]
                found[name] = max(choices, key=lambda choice: choice.saved.macs)
        return found

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, in the model's order."""
        return tuple(self._ways)

    def energy_saving(self, name: str, share: float) -> float | None:
        """Returns the largest share of energy with which a layer saves so much of its MACs.

        Args:
            name: The layer.
            share: The share of its MACs to save, above 0.

        Returns:
            The energy; None if even ranks of 1 do not save enough, or no weights.
        """
        wanted = share * self._before[name].macs

        def saves(energy: float) -> bool:
            choice = self.choices({name: energy}).get(name)
            return choice is not None and choice.saved.macs >= wanted

        return _largest(saves)

    def choices(self, energy: float | Mapping[str, float]) -> dict[str, Choice]:
        """Returns the products of `at` that pay: with fewer MACs and fewer weights than the layer.

        Args:
            energy: As for `at`.
        """
        return {
            name: choice
            for name, choice in self.at(energy).items()
            if choice.saved.macs > 0 and choice.saved.weights > 0
        }

    def energy_for(self, field: str, aim: int) -> float | None:
        """Returns the largest share of energy with which the model saves so much.

        Args:
            field: What counts of a cost: `"macs"` or `"weights"`.
            aim: How much of it must go.

        Returns:
            The share; None if even ranks of 1 do not save enough.
        """
        if aim <= 0:
            return 1.0
        return _largest(lambda energy: self._saved(field, energy) >= aim)

    def largest_saving(self, field: str) -> int:
        """Returns what ranks of 1 would save."""
        return self._saved(field, 0.0)

    def _saved(self, field: str, energy: float) -> int:
        return sum(getattr(choice.saved, field) for choice in self.choices(energy).values())


def _largest(saves: Callable[[float], bool]) -> float | None:
    """The largest energy that saves enough, by bisection; None if none does."""
    if not saves(0.0):
        return None
    low, high = 0.0, 1.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if saves(middle) else (low, middle)
    return low


def reason_to_skip(layer: Layer) -> str | None:
    """Says why a layer cannot be factorized, None if it can."""
    if type(layer) not in _FACTORIZABLE:
        return "no dense layer and no plain convolution"
    if not layer.trainable:
        return "frozen (trainable=False)"
    if getattr(layer, "groups", 1) > 1:
        return f"its {layer.groups} groups are a factorization already"
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return "its channels are not the last axis"
    if constraint := constraint_of([layer.kernel]):
        return f"its kernel is constrained ({constraint}), which its factors would not be"
    if min(_kernel(layer).shape[2:]) < 2:
        return "it has a single channel on one side"
    return None


def _cost(calls: Sequence[Node], sizes: Sizes) -> Cost:
    """What a layer costs in all its calls; its weights count once."""
    costs = [call_cost(node, sizes) for node in calls]
    return Cost(sum(cost.macs for cost in costs), costs[0].weights)


def _ways(calls: Sequence[Node], sizes: Sizes, method: str) -> list[Factorization]:
    """The products to choose from, of a layer with these calls."""
    kernel, extents = _kernel(calls[0].layer), [_extent(node, sizes) for node in calls]
    if kernel.shape[:2] == (1, 1):
        return [ChannelSVD(kernel, *extents)]
    kinds = {"spatial": (SpatialSVD,), "tucker": (Tucker2,), "auto": (SpatialSVD, Tucker2)}
    return [kind(kernel, *extents) for kind in kinds[method]]


def _kernel(layer: Layer) -> np.ndarray:
    """A layer's kernel as (height, width, inputs, outputs)."""
    kernel = layer.kernel.numpy()
    missing = 4 - kernel.ndim
    # the extent of a one-dimensional convolution counts as height
    return kernel[None, None] if missing == 2 else kernel[:, None] if missing == 1 else kernel


def _extent(node: Node, sizes: Sizes) -> Extent:
    """Where a call applies its layer's kernel."""

    def extent(tensor: KerasTensor) -> tuple[int, int]:
        height, *rest = sizes.inner(tensor) or (1,)
        return height, math.prod(rest)

    return Extent(extent(node.keras_inputs[0]), extent(outputs(node)[0]))
