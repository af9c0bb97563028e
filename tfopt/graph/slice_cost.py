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
    layer: str

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
        axes: dict[int, list[Axis]] = defaultdict(list)
        for axis in dependencies.axes:
            axes[id(axis.variable)].append(axis)
        weights = {
            id(weight): (weight, layer.name)
            for layer in dependencies.model.layers
            for weight in layer.weights
        }
        self._weights = [
            _Weight(tuple(weight.shape), tuple(axes[key]), dependencies.positions.get(key, 0), name)
            for key, (weight, name) in weights.items()
        ]
        self._nodes = list(nodes(dependencies.model))
        cut = {weight.layer for weight in self._weights if weight.positions}
        sizes = nominal_sizes(dependencies.model)
        self._fixed: dict[str, int] = defaultdict(int)  # MACs of layers without a rule: an LSTM
        for node in self._nodes:
            if node.layer.name not in cut:
                self._fixed[node.layer.name] += call_cost(node, sizes).macs

    def of(self, kept: np.ndarray) -> Cost:
        """Returns the cost of the model that `slice_channels` builds of the units kept."""
        left = self._left(kept)
        channels = sum(
            int(kept[group.units].sum())
            for group in self._dependencies.groups
            if not left.isdisjoint(group.makers)
        )
        parameters = 0
        macs = sum(macs for layer, macs in self._fixed.items() if layer in left)
        for weight in self._weights:
            if weight.layer in left:
                size = weight.size(kept)
                parameters += size
                macs += size * weight.positions
        return Cost(channels, parameters, macs)

    def _left(self, kept: np.ndarray) -> set[str]:
        """The names of the layers that are left: those that feed an output past what is gone."""
        lost = set()
        if any(not kept[axis.ids].any() for axis in self._dependencies.axes):
            lost = gone(self._dependencies, kept) or set()
        if not lost:
            return {node.layer.name for node in self._nodes}
        left = set()
        needed = {id(tensor) for tensor in self._dependencies.model.outputs}
        for node in reversed(self._nodes):
            if not needed.isdisjoint({id(tensor) for tensor in outputs(node)} - lost):
                left.add(node.layer.name)
                needed.update(() if node.is_input else map(id, node.keras_inputs))
        return left
