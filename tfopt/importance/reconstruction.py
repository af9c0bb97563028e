"""Refitting the layers behind removed channels to what they gave before."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays
from tfopt.graph.calls import Layer, Node, nodes, outputs
from tfopt.graph.dependencies import Dependencies
from tfopt.graph.kernels import constraint_of
from tfopt.graph.sizes import Sizes, sizes_of
from tfopt.graph.stepping import input_arrays, watch
from tfopt.keras_gate import tf_keras

_layers = tf_keras.layers
# Places of an image that count, and the most unknowns of a fit: beyond, its matrix is too large.
_PLACES = 16
_MOST_UNKNOWNS = 4608
_RIDGE = 1e-3
# The patches of a layer take up to half a gigabyte.
_MOST_NUMBERS = 2**27


def refit(
    sliced: tf_keras.Model, dependencies: Dependencies, kept: np.ndarray, inputs: Arrays
) -> None:
    """Refits, one after another, the layers that lost channels at their input, in place.

    Each gets the weights with which it comes closest, in the least-squares sense, to what it gave
    in the whole model, from what now reaches it: so errors of earlier layers are made up for, too.
    Those of `unfitted` stay as they are.

    Args:
        sliced: What `slice_channels` made of the model.
        dependencies: What goes together in the whole model.
        kept: (units,), which were kept.
        inputs: Samples; a few hundred are enough.

    References:
        He et al., Channel Pruning for Accelerating Very Deep Neural Networks, 2017, equation 1 (the
        second step; here drawn to the weights there were, as a ridge regression).
    """
    arrays = input_arrays(dependencies.model, inputs)
    sizes = sizes_of(dependencies.model, [array[:1] for array in arrays])
    fits = _fits(sliced, dependencies, kept, sizes)
    wanted: dict[str, np.ndarray] = {}

    def note(node: Node, value: tf.Tensor) -> None:
        fit = fits.get(node.layer.name)
        if fit is not None:
            kernel = node.layer.kernel.numpy()
            rows = _rows(node.layer, value, fit.samples)
            wanted[fit.name] = rows @ kernel.reshape(-1, kernel.shape[-1])[:, fit.outputs]

    def solve(node: Node, value: tf.Tensor) -> None:
        if node.layer.name in wanted:
            rows = _rows(node.layer, value, fits[node.layer.name].samples)
            _solve(node.layer, rows, wanted[node.layer.name])

    watch(dependencies.model, arrays, note)
    watch(sliced, input_arrays(sliced, inputs), solve)


def unfitted(dependencies: Dependencies, sliced: tf_keras.Model) -> dict[str, str]:
    """Says why layers that lost channels at their input cannot be refitted.

    Args:
        dependencies: What goes together in the whole model.
        sliced: What is left of the model.

    Returns:
        The reasons by the layers' names, without the layers that can be.
    """
    reasons = {
        layer.name: _reason(layer, smaller, dependencies.model)
        for layer, smaller in _behind(dependencies, sliced)
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}


@dataclasses.dataclass(frozen=True)
class _Fit:
    """A layer to refit, which of its outputs are left, and of how many samples at the most."""

    name: str
    outputs: np.ndarray
    samples: int


def _behind(dependencies: Dependencies, sliced: tf_keras.Model) -> list[tuple[Layer, Layer]]:
    """The layers that lost channels at their input, each with what is left of it."""
    left = {layer.name: layer for layer in sliced.layers}
    found = {}
    for axis in dependencies.axes:
        layer, smaller = axis.layer, left.get(axis.layer.name)
        if axis.role == "reads" and smaller is not None:
            place = next(i for i, weight in enumerate(layer.weights) if weight is axis.variable)
            if smaller.weights[place].shape[axis.axis] < axis.variable.shape[axis.axis]:
                found[layer.name] = (layer, smaller)
    return list(found.values())


def _reason(layer: Layer, smaller: Layer, model: tf_keras.Model) -> str | None:
    """Why a layer behind removed channels cannot be refitted, None if it can."""
    if type(layer) not in (_layers.Dense, _layers.Conv2D):
        return "only Dense and Conv2D layers are"
    if getattr(layer, "groups", 1) > 1:
        return "its kernel has groups"
    if sum(node.layer is layer for node in nodes(model)) > 1:
        return "it is called several times"
    if constraint := constraint_of([layer.kernel]):
        return f"its kernel is constrained ({constraint})"
    unknowns = math.prod(smaller.kernel.shape[:-1])
    if unknowns > _MOST_UNKNOWNS:
        return f"{unknowns:,} weights for each output, above {_MOST_UNKNOWNS:,}"
    return None


def _fits(
    sliced: tf_keras.Model, dependencies: Dependencies, kept: np.ndarray, sizes: Sizes
) -> dict[str, _Fit]:
    """The layers to refit, by name."""
    found = {}
    made = {node.layer.name: outputs(node)[0] for node in nodes(dependencies.model)}
    for layer, smaller in _behind(dependencies, sliced):
        if _reason(layer, smaller, dependencies.model) is not None:
            continue
        left = np.ones(layer.kernel.shape[-1], bool)
        for other in dependencies.axes_of(layer):
            if other.role == "makes":
                left = kept[other.ids]
        places = sizes.places(made[layer.name])
        samples = max(8, _MOST_NUMBERS // (places * math.prod(layer.kernel.shape[:-1])))
        found[layer.name] = _Fit(layer.name, left, samples)
    return found


def _rows(layer: Layer, value: tf.Tensor, samples: int) -> np.ndarray:
    """What a layer multiplies its kernel by, at some places of so many samples.

    Returns:
        (rows, kernel elements for an output); the same places for the same layer.
    """
    value = value[:samples]
    if isinstance(layer, _layers.Dense):
        patches = tf.reshape(value, [value.shape[0], -1, value.shape[-1]])
        return _some(patches.numpy())
    (height, width), channels = layer.kernel_size, value.shape[-1]
    patches = tf.image.extract_patches(
        value,
        sizes=[1, height, width, 1],
        strides=[1, *layer.strides, 1],
        rates=[1, *layer.dilation_rate, 1],
        padding=layer.padding.upper(),
    )
    return _some(tf.reshape(patches, [value.shape[0], -1, height * width * channels]).numpy())


def _some(patches: np.ndarray) -> np.ndarray:
    """At most so many places of each sample, others in each sample."""
    samples, places, size = patches.shape
    if places > _PLACES:
        random = np.random.default_rng(0)
        chosen = random.random((samples, places)).argpartition(_PLACES, axis=1)[:, :_PLACES]
        patches = np.take_along_axis(patches, chosen[:, :, None], axis=1)
    return patches.reshape(-1, size).astype(np.float64)


def _solve(layer: Any, rows: np.ndarray, wanted: np.ndarray) -> None:
    """Moves the weights to where the outputs come closest to those wanted."""
    kernel = layer.kernel.numpy().astype(np.float64)
    flat = kernel.reshape(-1, kernel.shape[-1])
    if layer.use_bias:
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        flat = np.concatenate([flat, np.zeros((1, flat.shape[1]))])
    gram = rows.T @ rows
    ridge = _RIDGE * np.trace(gram) / len(gram)
    if ridge == 0:
        return
    flat = flat + np.linalg.solve(gram + ridge * np.eye(len(gram)), rows.T @ (wanted - rows @ flat))
    if layer.use_bias:
        layer.bias.assign_add(flat[-1])
        flat = flat[:-1]
    layer.kernel.assign(flat.reshape(kernel.shape))
