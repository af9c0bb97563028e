"""Channels by number: where they lie in the weights, which go together, which have to stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tfopt.graph.calls import Layer

Ids = np.ndarray
"""The number of the channel at each position along an axis. One channel may stand at several."""

Role = Literal["makes", "reads", "carries", "heads"]
"""What a layer does along an axis: it makes the channels, takes them in, or treats each by itself
(a batch norm, a bias, a depthwise kernel); `heads` are attention heads, which count one by one."""

Count = Callable[[Ids], int]
"""Says how many positions of an axis are left."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis of a weight along which channels lie.

    Args:
        layer: The layer that has the weight.
        variable: The weight.
        axis: Counted from the first.
        ids: The channel at each position.
        role: What the layer does along it.
    """

    layer: Layer
    variable: Any
    axis: int
    ids: Ids
    role: Role


@dataclasses.dataclass(frozen=True)
class Setting:
    """An entry of a layer's configuration that counts channels.

    Args:
        layer: The layer.
        field: The entry's name.
        ids: The channels it counts.
        shape: The entry is this shape, of which the last size counts; None for a plain number.
    """

    layer: Layer
    field: str
    ids: Ids
    shape: tuple[Any, ...] | None = None

    def value(self, count: Count) -> Any:
        """The entry for the channels that are left."""
        left = count(self.ids)
        if self.shape is None:
            return left
        return (*self.shape[:-1], left)


@dataclasses.dataclass(frozen=True)
class Pinned:
    """Channels that have to stay.

    Args:
        ids: The channels.
        reason: Why, in words a user can act on.
    """

    ids: Ids
    reason: str


class Channels:
    """What the rules of the layers tell about channels, while a model is walked.

    `tie` makes channels go together: removing one removes all. `pin` makes them stay. A layer that
    is called again (a shared one) ties the channels of all its calls, position by position.

    Example:
        >>> channels = Channels()
        >>> trunk, branch = channels.new(4), channels.new(4)
        >>> channels.tie(trunk, branch)
        >>> channels.together().tolist()
        [0, 1, 2, 3, 0, 1, 2, 3]
    """

    def __init__(self) -> None:
        self.total = 0
        self.axes: dict[tuple[int, int], Axis] = {}
        self.settings: dict[tuple[int, str], Setting] = {}
        self.rewrites: dict[int, Callable[[Count, Any, Any], tuple[Any, Any]]] = {}
        self.positions: dict[int, int] = {}
        self.pinned: list[Pinned] = []
        self._ties: list[tuple[Ids, Ids]] = []
        self._made: dict[tuple[int, str], Ids] = {}

    def new(self, size: int) -> Ids:
        """Numbers for channels that were not seen before."""
        self.total += size
        return np.arange(self.total - size, self.total)

    def made_by(self, layer: Layer, size: int, what: str = "channels") -> Ids:
        """Numbers for what a layer makes, the same ones each time it is called."""
        key = id(layer), what
        if key not in self._made:
            self._made[key] = self.new(size)
        return self._made[key]

    def tie(self, one: Ids, other: Ids) -> None:
        """Makes channels go together, position by position."""
        self._ties.append((one, other))

    def pin(self, ids: Ids, reason: str) -> None:
        """Makes channels stay."""
        self.pinned.append(Pinned(ids, reason))

    def along(self, layer: Layer, variable: Any, axis: int, ids: Ids, role: Role) -> None:
        """Notes that channels lie along an axis of a weight (counted from either end)."""
        place = id(variable), axis % len(variable.shape)
        known = self.axes.setdefault(place, Axis(layer, variable, place[1], ids, role))
        if known.ids is not ids:
            self.tie(known.ids, ids)

    def sets(self, layer: Layer, field: str, ids: Ids, shape: Any = None) -> None:
        """Notes that an entry of a layer's configuration counts channels."""
        known = self.settings.setdefault(
            (id(layer), field), Setting(layer, field, ids, tuple(shape) if shape else None)
        )
        if known.ids is not ids and len(known.ids) == len(ids):
            self.tie(known.ids, ids)
        elif len(known.ids) != len(ids):
            for each in (known.ids, ids):
                self.pin(each, f"{layer.name} is shared by inputs of different sizes")

    def multiplies(self, variable: Any, positions: int) -> None:
        """Notes that each element of a kernel is multiplied so many times in a call."""
        self.positions[id(variable)] = self.positions.get(id(variable), 0) + positions

    def together(self) -> Ids:
        """Returns for each channel the lowest number among those it goes together with."""
        labels = np.arange(self.total)
        if not self._ties:
            return labels
        one, other = (np.concatenate(side) for side in zip(*self._ties, strict=True))
        while True:
            lower = np.minimum(labels[one], labels[other])
            merged = labels.copy()
            for side in (one, other):
                np.minimum.at(merged, labels[side], lower)
                np.minimum.at(merged, side, lower)
            merged = merged[merged]
            if np.array_equal(merged, labels):
                return labels
            labels = merged
