"""Walks a model and finds the channels that have to be removed together."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tfopt.graph.calls import Layer, nodes, outputs
from tfopt.graph.dependencies import rules, shapes
from tfopt.graph.dependencies.call import Call, CannotSlice
from tfopt.graph.dependencies.channels import Axis, Channels, Ids, Setting
from tfopt.graph.sizes import nominal_sizes
from tfopt.keras_gate import check_loaded, tf_keras

_RULES = rules.RULES | shapes.RULES
_RULES_BY_NAME = rules.RULES_BY_NAME | shapes.RULES_BY_NAME


@dataclasses.dataclass(frozen=True)
class Group:
    """Units that lie along the same axes, and so compete with each other alone.

    Args:
        makers: Names of the layers that make their channels, in the model's order.
        units: The units, in the order of the channels of the first maker.
        width: How many channels of the first maker a unit is.
        one_by_one: Whether they are attention heads, of which any number is as good.
        part: What they are of the first maker, where the same layers make several groups.
    """

    makers: tuple[str, ...]
    units: np.ndarray
    width: int
    one_by_one: bool
    part: str = ""

    @property
    def name(self) -> str:
        """A name of its own, by the makers: `stem_conv + block_conv (+3)`, `conv[8:16]`."""
        more = f" (+{len(self.makers) - 2})" if len(self.makers) > 2 else ""
        return " + ".join(self.makers[:2]) + more + self.part


@dataclasses.dataclass(frozen=True)
class Dependencies:
    """The units of a model: channels that can only be removed together, wherever they lie.

    Args:
        model: The model.
        axes: The axes of weights along which channels lie, `ids` being units.
        settings: The entries of layers' configurations that count channels, likewise.
        rewrites: By a layer's id, how its arguments depend on how many channels are left.
        positions: By a kernel's id, how often each of its elements is multiplied for a sample;
            sizes that the model leaves open are taken as 64.
        tensors: By a tensor's id, the unit at each place of its last axis.
        groups: The units that can be removed.
        reasons: Why a unit cannot, for those.
        whole: By name, the layers that cannot be cut, and why.
        units: How many there are.
    """

    model: tf_keras.Model
    axes: tuple[Axis, ...]
    settings: tuple[Setting, ...]
    rewrites: dict[int, Callable[..., Any]]
    positions: dict[int, int]
    tensors: dict[int, Ids]
    groups: tuple[Group, ...]
    reasons: dict[int, str]
    whole: dict[str, str]
    units: int

    def everything(self) -> np.ndarray:
        """A mask that keeps every unit.

        Returns:
            (units,), booleans.
        """
        return np.ones(self.units, bool)

    def left_whole(self, groups: Iterable[Group], reason: str) -> Dependencies:
        """Returns the same without some groups, whose units cannot be removed for a reason."""
        out = tuple(groups)
        more = {int(unit): reason for group in out for unit in group.units}
        left = tuple(group for group in self.groups if not any(group is other for other in out))
        return dataclasses.replace(self, groups=left, reasons=self.reasons | more)

    def axes_of(self, layer: Layer) -> list[Axis]:
        """The axes along which channels lie in a layer's weights."""
        return [axis for axis in self.axes if axis.layer is layer]


def analyse(
    model: tf_keras.Model, keep: Callable[[Axis], str | None] = lambda axis: None
) -> Dependencies:
    """Finds which channels of a model have to be removed together, and which cannot be.

    Each layer's rule says, by the numbers of the channels that go in, which come out and where
    they lie in its weights. So a Concatenate puts numbers side by side, a Flatten repeats them, and
    an Add ties them. What has no rule is left whole, with the channels it reads and makes.

    Args:
        model: A functional model; it is only read.
        keep: Says why the channels along an axis of a layer's weights have to stay, None if they
            need not.

    Raises:
        ModelError: The model is none of tf_keras.

    Example:
        >>> from tfopt.testing import residual_net
        >>> [(group.name, len(group.units)) for group in analyse(residual_net()).groups]
        [('stem_conv + second_conv', 8), ('first_conv', 8)]

    References:
        Fang et al., DepGraph: Towards Any Structural Pruning, 2023, section 3 (here by the single
        channel instead of by the layer, so that offsets need no case of their own).
    """
    check_loaded(model)
    channels, sizes = Channels(), nominal_sizes(model)
    tensors: dict[int, Ids] = {}
    order: dict[str, int] = {}
    whole: dict[str, str] = {}
    for node in nodes(model):
        order.setdefault(node.layer.name, len(order))
        made = [channels.new(_size(tensor)) for tensor in outputs(node)]
        if node.is_input:
            channels.pin(np.concatenate(made), "its channels are the model's input")
        else:
            given = [tensors[id(tensor)] for tensor in node.keras_inputs]
            call = Call(node, channels, given, sizes)
            found = _by_rule(call)
            if found is None:
                whole[node.layer.name] = (
                    f"tfopt does not know how to cut a {type(node.layer).__name__}"
                )
                _leave_whole(call, made)
            else:
                made = found
        tensors.update(zip(map(id, outputs(node)), made, strict=True))
    for tensor in model.outputs:
        channels.pin(tensors[id(tensor)], "its channels are the model's output")
    for axis in channels.axes.values():
        if reason := keep(axis):
            channels.pin(axis.ids, reason)
    return _by_unit(model, channels, tensors, order, whole)


def _by_rule(call: Call) -> list[Ids] | None:
    """The channels of the tensors a call makes by its layer's rule; None where none covers it."""
    layer, made = call.layer, outputs(call.node)
    rule = _RULES.get(type(layer)) or _RULES_BY_NAME.get(type(layer).__name__)
    first = getattr(layer, "data_format", None) == "channels_first"
    if rule is None or first or not call.inputs:
        return None
    try:
        found = rule(call)
    except CannotSlice:
        return None
    found = found if isinstance(found, list) else [found]
    return found if [len(ids) for ids in found] == [_size(tensor) for tensor in made] else None


def _leave_whole(call: Call, made: list[Ids]) -> None:
    """Keeps all channels that a call reads and makes."""
    for ids in call.inputs:
        call.channels.pin(ids, f"its channels reach {call.name}, which is left whole")
    for ids in made:
        call.channels.pin(ids, f"its channels come from {call.name}, which is left whole")


def _size(tensor: Any) -> int:
    """The size of a tensor's last axis; that of the batch, and an unknown one, count as one."""
    return (tensor.shape[-1] or 1) if len(tensor.shape) > 1 else 1


def _by_unit(
    model: tf_keras.Model,
    channels: Channels,
    tensors: dict[int, Ids],
    order: dict[str, int],
    whole: dict[str, str],
) -> Dependencies:
    """What the rules told, by units instead of by channels."""
    _, unit_of = np.unique(channels.together(), return_inverse=True)
    reasons: dict[int, str] = {}
    for pinned in channels.pinned:
        for unit in np.unique(unit_of[pinned.ids]).tolist():
            reasons.setdefault(unit, pinned.reason)
    axes = tuple(
        dataclasses.replace(axis, ids=unit_of[axis.ids]) for axis in channels.axes.values()
    )
    return Dependencies(
        model=model,
        axes=axes,
        settings=tuple(
            dataclasses.replace(setting, ids=unit_of[setting.ids])
            for setting in channels.settings.values()
        ),
        rewrites={
            layer: _with_units(rewrite, unit_of) for layer, rewrite in channels.rewrites.items()
        },
        positions=channels.positions,
        tensors={tensor: unit_of[ids] for tensor, ids in tensors.items()},
        groups=_groups(axes, reasons, order),
        reasons=reasons,
        whole=whole,
        units=int(unit_of.max(initial=-1)) + 1,
    )


def _with_units(rewrite: Callable[..., Any], unit_of: np.ndarray) -> Callable[..., Any]:
    """A rule's rewriting of arguments, for a count of units."""
    return lambda count, args, kwargs: rewrite(lambda ids: count(unit_of[ids]), args, kwargs)


def _groups(
    axes: tuple[Axis, ...], reasons: dict[int, str], order: dict[str, int]
) -> tuple[Group, ...]:
    """Units that lie along the same axes, as groups in the order of their first makers."""
    places: dict[int, list[int]] = defaultdict(list)
    for number, axis in enumerate(axes):
        for unit in dict.fromkeys(axis.ids.tolist()):
            if unit not in reasons:
                places[unit].append(number)
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for unit, numbers in places.items():
        alike[tuple(numbers)].append(unit)
    groups, channels = [], []
    for along, units in alike.items():
        making = [axes[number] for number in along if axes[number].role in ("makes", "heads")]
        if not making:
            continue
        making.sort(key=lambda axis: order[axis.layer.name])
        groups.append(
            Group(
                makers=tuple(dict.fromkeys(axis.layer.name for axis in making)),
                units=np.array(units),
                width=int(np.isin(making[0].ids, units).sum()) // len(units),
                one_by_one=making[0].role == "heads",
            )
        )
        channels.append(np.flatnonzero(np.isin(making[0].ids, units)))
    told_apart = _told_apart(groups, channels)
    return tuple(sorted(told_apart, key=lambda group: order[group.makers[0]]))


def _told_apart(groups: list[Group], channels: list[np.ndarray]) -> list[Group]:
    """The groups with names of their own: several are made by one layer that is split behind it."""
    names = Counter(group.name for group in groups)
    parts = [
        " (heads)" if group.one_by_one else f"[{of[0]}:{of[-1] + 1}]"
        for group, of in zip(groups, channels, strict=True)
    ]
    again = Counter((group.name, part) for group, part in zip(groups, parts, strict=True))
    return [
        group
        if names[group.name] == 1
        else dataclasses.replace(
            group, part=part if again[group.name, part] == 1 else f"{part} {number}"
        )
        for number, (group, part) in enumerate(zip(groups, parts, strict=True))
    ]
