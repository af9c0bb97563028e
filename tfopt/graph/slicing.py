"""Building a model again with some of its channels."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.errors import ModelError
from tfopt.graph.calls import KerasTensor, Layer, nodes, outputs, rebuild, resized
from tfopt.graph.dependencies import Axis, Dependencies, gone
from tfopt.keras2.copying import copy_layer
from tfopt.keras_gate import tf_keras

_GONE = object()
"""Stands in the place of a tensor of which nothing is left."""


def slice_channels(dependencies: Dependencies, kept: np.ndarray) -> tf_keras.Model:
    """Builds a dense model of the channels that are kept, with their weights.

    Args:
        dependencies: What goes together in the model, which is left as it was.
        kept: (units,), whether each is kept. Those that cannot be removed have to be.

    Returns:
        A model of its own. Its layers keep their names; those of which nothing is left, and what
        only they feed, are missing (a residual branch, say).

    Raises:
        ModelError: A unit that cannot be removed is not kept, or the model cannot do without what
            would be gone.

    Example:
        >>> from tfopt.graph.dependencies import analyse
        >>> from tfopt.testing import small_cnn
        >>> found = analyse(small_cnn())
        >>> kept = found.everything()
        >>> kept[found.groups[0].units[::2]] = False
        >>> sliced = slice_channels(found, kept)
        >>> sliced.get_layer("stem_conv").filters, sliced.get_layer("block_conv").kernel.shape
        (4, TensorShape([3, 3, 4, 16]))
    """
    lost = _lost(dependencies, kept)

    def count(units: np.ndarray) -> int:
        return int(kept[units].sum())

    changed = {id(a.layer) for a in dependencies.axes if not kept[a.ids].all()}
    changed |= {id(s.layer) for s in dependencies.settings if not kept[s.ids].all()}
    settings: dict[int, dict[str, Any]] = defaultdict(dict)
    for setting in dependencies.settings:
        if id(setting.layer) in changed:
            settings[id(setting.layer)][setting.field] = setting.value(count)
    calls: dict[int, list[KerasTensor]] = defaultdict(list)
    for node in nodes(dependencies.model):
        calls[id(node.layer)] += outputs(node)
    copies: list[tuple[Layer, Layer]] = []

    def replace(layer: Layer) -> Callable[..., Any]:
        if lost.issuperset(map(id, calls[id(layer)])):
            return lambda *args, **kwargs: [_GONE] * len(outputs(layer._inbound_nodes[0]))
        copies.append((layer, _copy(layer, settings.get(id(layer)))))
        is_result = any(tensor is result for tensor in calls[id(layer)] for result in results)
        if lost and not is_result and not layer.weights and _rectifies(layer):
            return _unless_rectified(copies[-1][1])
        rewrite = dependencies.rewrites.get(id(layer))
        return _called(copies[-1][1], is_result, rewrite and functools.partial(rewrite, count))

    results = dependencies.model.outputs
    sliced, _ = rebuild(dependencies.model, replace=replace)
    for layer, copy in copies:
        _fill(copy, layer, dependencies.axes_of(layer), kept)
    return sliced


def _rectifies(layer: Layer) -> tuple[float | None] | None:
    """Where a layer's outputs are cut off above, if it is a plain ReLU or ends with one."""
    if type(layer) is tf_keras.layers.ReLU:
        plain = not layer.negative_slope and not layer.threshold
        return (layer.max_value,) if plain else None
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    return {"relu": (None,), "relu6": (6.0,)}.get(str(name))


def _unless_rectified(relu: Layer) -> Callable[..., Any]:
    """Leaves a ReLU out that stands behind its like, now that the branch between them is gone."""

    def call(x: Any) -> Any:
        if x is _GONE:
            return _GONE
        repeats = _rectifies(x._keras_history.layer) == _rectifies(relu)
        return x if repeats else relu(x)

    return call


def _lost(dependencies: Dependencies, kept: np.ndarray) -> set[int]:
    """The tensors that are gone, after a look at whether the mask can be."""
    for unit, reason in dependencies.reasons.items():
        if not kept[unit]:
            raise ModelError(
                received=f"a mask without a channel that cannot be removed: {reason}",
                expected="every unit kept that is in no group",
                fix="start from everything() and remove units of groups",
            )
    lost = gone(dependencies, kept)
    if lost is None:
        empty = [group.name for group in dependencies.groups if not kept[group.units].any()]
        raise ModelError(
            received=f"a mask that leaves nothing of {', '.join(empty)}",
            expected="a channel at least wherever the outputs depend on the group",
            fix="keep a channel of each, or remove a residual branch with `without`",
        )
    return lost


def _copy(layer: Layer, settings: dict[str, Any] | None) -> Layer:
    """A layer that is not built yet, of the configuration of another and some other settings."""
    if settings is None:
        return copy_layer(layer, layer.name)
    return resized(layer, settings)


def _fill(copy: Layer, layer: Layer, axes: list[Axis], kept: np.ndarray) -> None:
    """Gives a built copy the weights that are left, and the trainable flags."""
    if not copy.built:  # it was called in no place that is left
        return
    for old, new in zip(layer._flatten_layers(), copy._flatten_layers(), strict=True):
        new._trainable = old._trainable
    by_weight: dict[int, list[Axis]] = defaultdict(list)
    for axis in axes:
        by_weight[id(axis.variable)].append(axis)
    for old, new in zip(layer.weights, copy.weights, strict=True):
        value = old.numpy()
        for axis in by_weight[id(old)]:
            value = np.compress(kept[axis.ids], value, axis.axis)
        new.assign(value)
    if isinstance(copy, tf_keras.layers.Normalization) and copy.input_mean is None:
        copy.finalize_state()


def _called(copy: Layer, is_result: bool, rewrite: Callable[..., Any] | None) -> Callable[..., Any]:
    """Calls a layer with what is left of its inputs.

    Args:
        copy: The layer.
        is_result: Whether what it makes is an output of the model, and bears its name.
        rewrite: Its arguments, which depend on how many channels are left.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        given = tf.nest.flatten((args, kwargs))
        if not any(value is _GONE for value in given):
            if rewrite is not None:
                args, kwargs = rewrite(args, kwargs)
            return copy(*args, **kwargs)
        left = [value for value in given if hasattr(value, "_keras_history")]
        if len(left) > 1:
            return copy(left)
        if left and is_result:
            return tf_keras.layers.Activation("linear", name=copy.name)(left[0])
        return left[0] if left else _GONE

    return call
