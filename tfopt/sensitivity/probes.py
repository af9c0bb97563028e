"""A technique's change to one layer alone, as other values of the weights of the model as it is.

A removed channel is one that nobody reads, a product of low rank is a kernel again: so the model is
built and traced once, whatever is tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfopt.factorization.factors import product
from tfopt.factorization.plan import Planner
from tfopt.graph.calls import nodes
from tfopt.graph.cost import call_cost
from tfopt.graph.dependencies import Dependencies, Group
from tfopt.graph.sizes import nominal_sizes
from tfopt.graph.slice_cost import Costs
from tfopt.keras_gate import tf_keras
from tfopt.kernel_technique import Kernel
from tfopt.rounding.clipping import Ranges
from tfopt.rounding.linear import Linear
from tfopt.rounding.model import grid_of

_BITS, _FEWEST_BITS = 8, 2


@dataclasses.dataclass(frozen=True)
class Change:
    """Other values of some weights, and what the change they stand for saves.

    Args:
        values: Weights of the model with the values they are to have.
        weights: How many weights are saved, or the bytes of 8-bit ones.
        macs: How many multiply-accumulate operations of a sample.
    """

    values: tuple[tuple[Any, np.ndarray], ...]
    weights: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Probe:
    """One layer and how to change it.

    Args:
        name: The layer, or what else changes together.
        change: Gives the change of a strength above 0 and up to 1; None if it saves nothing.
    """

    name: str
    change: Callable[[float], Change | None]


def pruned(model: tf_keras.Model, kernels: Sequence[Kernel]) -> list[Probe]:
    """Returns how to set the smallest weights of each kernel to zero; the strength is their share.

    Args:
        model: A functional model.
        kernels: Its kernels that may be pruned.
    """
    sizes = nominal_sizes(model)
    costs = {node.layer.name: call_cost(node, sizes) for node in nodes(model)}

    def change(kernel: Kernel, strength: float) -> Change | None:
        value = kernel.variable.numpy()
        cost = costs[kernel.layer.name]
        sparse = smallest_zeroed(value, strength)
        zeros = int(np.count_nonzero(value) - np.count_nonzero(sparse))
        if not zeros:
            return None
        macs = round(zeros * cost.macs / max(1, cost.weights))
        return Change(((kernel.variable, sparse),), zeros, macs)

    return [Probe(kernel.name, _bound(change, kernel)) for kernel in kernels]


def smallest_zeroed(value: np.ndarray, share: float) -> np.ndarray:
    """Returns a kernel whose smallest weights are zero.

    Example:
        >>> smallest_zeroed(np.array([3.0, -1.0, 2.0, 0.5]), 0.5)
        array([3., 0., 2., 0.])
    """
    order = np.argsort(np.abs(value), axis=None, kind="stable")
    flat = value.reshape(-1).copy()
    flat[order[: round(share * value.size)]] = 0
    return flat.reshape(value.shape)


def cut(found: Dependencies, scores: np.ndarray) -> list[Probe]:
    """Returns how to remove the least important of the channels of each group, a share of them.

    Args:
        found: What goes together in the model.
        scores: (units,), how important each is.
    """
    costs = Costs(found)
    whole = costs.of(found.everything())
    readers = [axis for axis in found.axes if axis.role == "reads"]

    def change(group: Group, strength: float) -> Change | None:
        ranked = group.units[np.argsort(scores[group.units], kind="stable")]
        count = min(round(strength * len(ranked)), len(ranked) - 1)
        if not count:
            return None
        kept = found.everything()
        kept[ranked[:count]] = False
        cost = costs.of(kept)
        values: dict[int, tuple[Any, np.ndarray]] = {}
        for axis in readers:
            if not kept[axis.ids].all():
                _, value = values.get(id(axis.variable), (None, axis.variable.numpy()))
                shape = [1] * value.ndim
                shape[axis.axis] = -1
                values[id(axis.variable)] = (axis.variable, value * kept[axis.ids].reshape(shape))
        return Change(
            tuple(values.values()), whole.parameters - cost.parameters, whole.macs - cost.macs
        )

    return [Probe(group.name, _bound(change, group)) for group in found.groups]


def low_rank(model: tf_keras.Model, planner: Planner) -> list[Probe]:
    """Returns how to factorize each layer; the strength is the share of its MACs that goes.

    Args:
        model: A functional model.
        planner: The layers that can be factorized.
    """

    def change(name: str, strength: float) -> Change | None:
        energy = planner.energy_saving(name, strength)
        return None if energy is None else factorized(model, planner, name, energy)

    return [Probe(name, _bound(change, name)) for name in planner.layers]


def factorized(model: tf_keras.Model, planner: Planner, name: str, energy: float) -> Change:
    """Returns the change of a layer into the product of its factors.

    Args:
        model: A functional model.
        planner: The layers that can be factorized.
        name: One of them.
        energy: The share of its energy that the factors keep, which sets their rank.
    """
    choice = planner.at({name: energy})[name]
    kernel = model.get_layer(name).kernel
    value = product(choice.factorization.factors(choice.ranks)).reshape(kernel.shape)
    return Change(((kernel, value),), choice.saved.weights, choice.saved.macs)


def rounded(layers: Sequence[Linear], ranges: Ranges) -> list[Probe]:
    """Returns how to round each layer's kernel; the strength is the share of its 8 bits that goes.

    Args:
        layers: What may be rounded.
        ranges: How the scales of the integers are chosen.
    """

    def change(layer: Linear, strength: float) -> Change | None:
        bits = round(_BITS * (1 - strength))
        if not _FEWEST_BITS <= bits < _BITS:
            return None
        grid = grid_of(layer, bits=bits, ranges=ranges)
        value = layer.as_kernel(grid.weights(grid.nearest())).numpy()
        return Change(((layer.kernel, value),), round(value.size * (1 - bits / _BITS)), 0)

    return [Probe(layer.layer.name, _bound(change, layer)) for layer in layers]


def _bound(change: Callable[[Any, float], Change | None], what: Any) -> Any:
    """A change of one layer as a function of the strength."""
    return lambda strength: change(what, strength)
