"""Which tensors are left without some channels, and whether the model still hangs together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from tfopt.graph.calls import Node, nodes, outputs
from tfopt.graph.dependencies import shapes
from tfopt.graph.dependencies.analysis import Dependencies, Group


def gone(dependencies: Dependencies, kept: np.ndarray) -> set[int] | None:
    """Finds the tensors of which nothing is left.

    A layer that has lost all channels along an axis is gone, and so is what only it feeds. A sum
    can do without an input, and so can a row of channels: so a residual branch goes as a whole.

    Args:
        dependencies: What goes together.
        kept: (units,), whether each is kept.

    Returns:
        The ids of the tensors, or None if the model cannot do without them.
    """
    found, whole = _walk(dependencies, kept)
    return found if whole else None


def _walk(dependencies: Dependencies, kept: np.ndarray) -> tuple[set[int], bool]:
    """The tensors that are gone, and whether every call that is left can be made without them."""
    empty = {id(axis.layer) for axis in dependencies.axes if not kept[axis.ids].any()}
    found: set[int] = set()
    whole = True
    for node in nodes(dependencies.model):
        if node.is_input:
            continue
        lost = [id(tensor) in found for tensor in node.keras_inputs]
        if any(lost) and not all(lost):
            whole &= _does_without(node, lost, dependencies, kept)
        made = [id(tensor) for tensor in outputs(node)]
        if id(node.layer) in empty or (lost and all(lost)):
            found.update(made)
        else:
            found.update(tensor for tensor in made if not kept[dependencies.tensors[tensor]].any())
    return found, whole and not any(id(tensor) in found for tensor in dependencies.model.outputs)


def _does_without(
    node: Node, lost: list[bool], dependencies: Dependencies, kept: np.ndarray
) -> bool:
    """Whether a call can be made without the inputs that are lost."""
    if shapes.is_sum(node):
        return True
    return shapes.is_row(node) and not any(
        kept[dependencies.tensors[id(tensor)]].any()
        for tensor, is_lost in zip(node.keras_inputs, lost, strict=True)
        if is_lost
    )


def without(
    dependencies: Dependencies, kept: np.ndarray, emptied: Iterable[Group]
) -> np.ndarray | None:
    """Removes whole groups, and those whose makers are gone with them.

    Args:
        dependencies: What goes together.
        kept: (units,), whether each is kept otherwise.
        emptied: The groups to remove.

    Returns:
        (units,), or None if the model cannot do without them.

    Example:
        >>> from tfopt.graph.dependencies import analyse
        >>> from tfopt.testing import residual_net
        >>> found = analyse(residual_net())
        >>> [without(found, found.everything(), [group]) is not None for group in found.groups]
        [False, True]
    """
    kept = kept.copy()
    for group in emptied:
        kept[group.units] = False
    made: dict[str, list[int]] = defaultdict(list)
    for node in nodes(dependencies.model):
        made[node.layer.name] += [id(tensor) for tensor in outputs(node)]
    while True:
        lost, whole = _walk(dependencies, kept)
        idle = [
            group
            for group in dependencies.groups
            if kept[group.units].any()
            and all(lost.issuperset(made[maker]) for maker in group.makers)
        ]
        if not idle:
            return kept if whole else None
        for group in idle:
            kept[group.units] = False
