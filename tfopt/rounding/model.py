"""Going through a model: each layer, or block, rounded for what the rounded ones before it give."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays
from tfopt.graph.calls import nodes
from tfopt.keras_gate import clone, tf_keras
from tfopt.progress import bar
from tfopt.quantization.grid import largest_integer
from tfopt.rounding.adaround import Learning, learn
from tfopt.rounding.blocks import Block, blocks, following
from tfopt.rounding.capture import Calibration
from tfopt.rounding.clipping import Ranges, scales
from tfopt.rounding.errors import BlockErrors, LayerErrors
from tfopt.rounding.gptq import compensate, recover
from tfopt.rounding.grid import Grid
from tfopt.rounding.linear import Linear

Method = Literal["adaround", "gptq", "nearest"]
Scope = Literal["layer", "block"]

# A step of learning a layer reads so many rows for each sample that one of a block reads.
_ROWS = 16


@dataclasses.dataclass(frozen=True)
class Settings:
    """How kernels are rounded; see `tfopt.RoundWeights`.

    Args:
        method: How the integers are chosen.
        scope: What is learned at once.
        learning: How `adaround` learns.
        batch_size: Samples in a step of learning.
    """

    method: Method
    scope: Scope
    learning: Learning
    batch_size: int


def grid_of(layer: Linear, *, bits: int, ranges: Ranges) -> Grid:
    """Returns where a layer's weights stand, as matrices.

    Args:
        layer: The layer.
        bits: Of a weight in the file.
        ranges: How the scales are chosen.
    """
    matrix, largest = layer.matrix(layer.kernel.numpy()), largest_integer(bits)
    return Grid.of(matrix, scales(matrix, largest=largest, ranges=ranges), largest)


def round_nearest(model: tf_keras.Model, grids: Mapping[str, Grid]) -> tf_keras.Model:
    """Returns a copy of a model with each weight at the nearest integer of its grid."""
    own = clone(model)
    for name, grid in grids.items():
        _assign(own, name, grid, grid.nearest())
    return own


def round_for_outputs(
    model: tf_keras.Model, grids: Mapping[str, Grid], inputs: Arrays, settings: Settings
) -> tf_keras.Model:
    """Returns a copy of a model whose weights are rounded for what comes of it.

    Args:
        model: A functional model.
        grids: By the names of the layers to round, which are called once.
        inputs: Representative inputs.
        settings: How to round.
    """
    calibration = Calibration(model, clone(model), inputs, settings.learning.seed)
    names = [node.layer.name for node in nodes(model) if node.layer.name in grids]
    if settings.scope == "layer":
        for name in bar(names, "Rounding weights", unit="layer"):
            _round_layer(calibration, name, grids[name], settings)
        return calibration.rounded
    pairs = (blocks(part, names) for part in (model, calibration.rounded))
    for original, rounded in bar(list(zip(*pairs, strict=True)), "Rounding weights", unit="block"):
        if len(rounded.kernels) == 1:
            name = rounded.kernels[0]
            _round_layer(calibration, name, grids[name], settings)
        else:
            _round_block(calibration, original, rounded, grids, settings)
    return calibration.rounded


def _round_layer(calibration: Calibration, name: str, grid: Grid, settings: Settings) -> None:
    """Rounds one layer; a channel for which nearest rounding is better keeps that."""
    layer = calibration.rounded.get_layer(name)
    bias, activation = Linear(layer).bias, following(calibration.rounded, layer)
    seen, unseen = (LayerErrors(rows, bias, activation) for rows in calibration.rows(name))
    nearest = grid.weights(grid.nearest())
    if settings.method == "gptq":
        recovered = recover(grid, seen.gram(), seen.missing(grid.weights(grid.steps)))
        chosen = compensate(recovered, seen.gram())
    else:
        error = seen.sampled(seen.of(nearest), settings.batch_size * _ROWS, settings.learning.seed)
        (chosen,) = learn([grid], error, settings.learning)
    better = unseen.of(grid.weights(chosen)) <= unseen.of(nearest)
    _assign(calibration.rounded, name, grid, np.where(better, chosen, grid.nearest()))


def _round_block(
    calibration: Calibration,
    original: Block,
    rounded: Block,
    grids: Mapping[str, Grid],
    settings: Settings,
) -> None:
    """Rounds the layers of a block together; if nearest rounding is better, they keep that."""
    model, names = calibration.rounded, rounded.kernels
    chosen = [grids[name] for name in names]

    def run(kernels: Sequence[tf.Tensor], entries: list[tf.Tensor]) -> tf.Tensor:
        with _kernels(model, names, kernels):
            return rounded.run(entries)

    values = calibration.values(list(rounded.entries), [original.exit])
    last = round(values[1][0].shape[0] * calibration.learned_from)
    seen = BlockErrors(run, *([value[:last] for value in part] for part in values))
    rest = [[value[last:] for value in part] for part in values]
    unseen = BlockErrors(run, *rest) if last < values[1][0].shape[0] else seen
    nearest = [grid.nearest() for grid in chosen]
    usual = [grid.weights(rounding) for grid, rounding in zip(chosen, nearest, strict=True)]
    error = seen.sampled(seen.of(usual), settings.batch_size, settings.learning.seed)
    learned = learn(chosen, error, settings.learning)
    weights = [grid.weights(rounding) for grid, rounding in zip(chosen, learned, strict=True)]
    share = tf.math.divide_no_nan(unseen.of(weights), before := unseen.of(usual))
    better = float(tf.reduce_sum(share)) <= np.count_nonzero(before)
    for name, grid, rounding in zip(names, chosen, learned if better else nearest, strict=True):
        _assign(model, name, grid, rounding)


@contextmanager
def _kernels(
    model: tf_keras.Model, names: Sequence[str], matrices: Sequence[tf.Tensor]
) -> Iterator[None]:
    """Lets layers compute with other kernels, Keras' own bookkeeping of weights left as it is."""
    layers = [Linear(model.get_layer(name)) for name in names]
    kept = [layer.kernel for layer in layers]
    try:
        for layer, matrix in zip(layers, matrices, strict=True):
            layer.layer.__dict__[layer.attribute] = layer.as_kernel(tf.convert_to_tensor(matrix))
        yield
    finally:
        for layer, kernel in zip(layers, kept, strict=True):
            layer.layer.__dict__[layer.attribute] = kernel


def _assign(model: tf_keras.Model, name: str, grid: Grid, integers: np.ndarray) -> None:
    """Gives a layer its rounded kernel."""
    layer = Linear(model.get_layer(name))
    layer.kernel.assign(layer.as_kernel(grid.weights(integers)))
