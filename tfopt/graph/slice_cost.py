"""What a model will cost with some of its channels, without building it."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict

import numpy as np

from tfopt.graph.calls import nodes, outputs
from tfopt.graph.cost import call_cost
from tfopt.graph.dependencies import Axis, Dependencies, gone
from tfopt.graph.sizes import nominal_sizes


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a model costs.

    Args:
        channels: Units that could be removed and are left; channels that go together count once.
        parameters: Number of weights.
        macs: Multiply-accumulate operations of the kernels for one sample. Sizes left open
            are taken as 64; products of activations (attention scores) are left out.
    """

    channels: int
    parameters: int
    macs: int


@dataclasses.dataclass(frozen=True)
class _Weight:
    """A weight, the axes along which channels lie, and how often its elements are multiplied."""

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    positions: int
    layer: int

    def size(self, kept: np.ndarray) -> int:
        """How many elements are left."""
        left = {axis.axis: int(kept[axis.ids].sum()) for axis in self.axes}
        return math.prod(left.get(axis, size) for axis, size in enumerate(self.shape))


class Costs:
    """Predicts what is left of a model's cost.

    Args:
        dependencies: What goes together in it.

    Example:
        >>> from tfopt.graph.dependencies import analyse
        >>> from tfopt.testing import dense_net
        >>> found = analyse(dense_net())
        >>> kept = found.everything()
        >>> kept[found.groups[0].units[:16]] = False
        >>> Costs(found).of(kept)
        Cost(channels=16, parameters=1210, macs=1184)
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._removable = [group.units for group in dependencies.groups]
        axes: dict[int, list[Axis]] = defaultdict(list)
        for axis in dependencies.axes:
            axes[id(axis.variable)].append(axis)
        weights = {
            id(weight): (weight, layer)
            for layer in dependencies.model.layers
            for weight in layer.weights
        }
        self._weights = [
            _Weight(
                tuple(weight.shape), tuple(axes[key]), dependencies.positions.get(key, 0), id(layer)
            )
            for key, (weight, layer) in weights.items()
        ]
        self._calls: dict[int, list[int]] = defaultdict(list)
        self._fixed: dict[int, int] = defaultdict(
            int
        )  # of layers that no rule cuts: recurrent ones
        cut = {weight.layer for weight in self._weights if weight.positions}
        sizes = nominal_sizes(dependencies.model)
        for node in nodes(dependencies.model):
            self._calls[id(node.layer)] += [id(tensor) for tensor in outputs(node)]
            if id(node.layer) not in cut:
                self._fixed[id(node.layer)] += call_cost(node, sizes).macs

    def of(self, kept: np.ndarray) -> Cost:
        """Returns the cost of the model that `slice_channels` builds of the units kept."""
        lost = set()
        if any(not kept[axis.ids].any() for axis in self._dependencies.axes):
            lost = gone(self._dependencies, kept) or set()

        def is_left(layer: int) -> bool:
            return not lost or not lost.issuperset(self._calls[layer])

        parameters = 0
        macs = sum(macs for layer, macs in self._fixed.items() if is_left(layer))
        for weight in self._weights:
            if is_left(weight.layer):
                size = weight.size(kept)
                parameters += size
                macs += size * weight.positions
        return Cost(sum(int(kept[units].sum()) for units in self._removable), parameters, macs)
