"""Refitting the layers behind removed channels to what they gave before."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays
from tfopt.graph.calls import Layer, Node
from tfopt.graph.dependencies import Dependencies
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
) -> list[str]:
    """Refits, one after another, the layers that lost channels at their input, in place.

    Each gets the weights with which it comes closest, in the least-squares sense, to what it gave
    in the whole model, from what now reaches it: so errors of earlier layers are made up for, too.

    Args:
        sliced: What `slice_channels` made of the model.
        dependencies: What goes together in the whole model.
        kept: (units,), which were kept.
        inputs: Samples; a few hundred are enough.

    Returns:
        Names of the layers that were refitted: Dense and Conv2D without groups, called once, of at
        most 4,608 weights for each output.

    References:
        He et al., Channel Pruning for Accelerating Very Deep Neural Networks, 2017, equation 1 (the
        second step; here drawn to the weights there were, as a ridge regression).
    """
    fits = _fits(sliced, dependencies, kept)
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

    watch(dependencies.model, input_arrays(dependencies.model, inputs), note)
    watch(sliced, input_arrays(sliced, inputs), solve)
    return list(wanted)


@dataclasses.dataclass(frozen=True)
class _Fit:
    """A layer to refit, which of its outputs are left, and of how many samples at the most."""

    name: str
    outputs: np.ndarray
    samples: int


def _fits(sliced: tf_keras.Model, dependencies: Dependencies, kept: np.ndarray) -> dict[str, _Fit]:
    """The layers to refit, by name."""
    left = {layer.name: layer for layer in sliced.layers}
    found = {}
    for axis in dependencies.axes:
        layer = axis.layer
        if axis.role != "reads" or kept[axis.ids].all() or layer.name not in left:
            continue
        if type(layer) not in (_layers.Dense, _layers.Conv2D) or len(layer._inbound_nodes) > 1:
            continue
        unknowns = math.prod(left[layer.name].kernel.shape[:-1])
        if getattr(layer, "groups", 1) > 1 or unknowns > _MOST_UNKNOWNS:
            continue
        outputs = np.ones(layer.kernel.shape[-1], bool)
        for other in dependencies.axes_of(layer):
            if other.role == "makes":
                outputs = kept[other.ids]
        places = math.prod(size or 1 for size in layer.output_shape[1:-1])
        samples = max(8, _MOST_NUMBERS // (places * math.prod(layer.kernel.shape[:-1])))
        found[layer.name] = _Fit(layer.name, outputs, samples)
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
