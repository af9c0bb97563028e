"""Moving what is always positive behind a ReLU into the layer that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt.graph.calls import Layer, Node
from tfopt.graph.equality import ROUNDING, difference, results
from tfopt.graph.kernels import through
from tfopt.graph.pairs import Pair, find_pairs
from tfopt.graph.stepping import watch
from tfopt.keras_gate import clone, tf_keras


def absorb_biases(model: tf_keras.Model, arrays: Sequence[Any]) -> tf_keras.Model:
    """Returns a copy of a model with smaller activations and the same outputs on some samples.

    A channel that is at least c on every sample is made c smaller, and what reads it adds what c
    gave there. A ReLU between the two does not cut off anything it did not before. Where that
    changes the outputs (at the borders of a padded convolution, say) it is not done.

    Args:
        model: A functional model; it is left as it was.
        arrays: The samples: one array for each input.

    References:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
        section 4.1.3, where c comes from batch-norm statistics instead: the mean less three
        deviations.
    """
    own = clone(model)
    wanted = results(own, arrays)
    for pair in find_pairs(own).found:
        if not _can_shift(pair):
            continue
        (maker,), (reader,) = pair.makers, pair.readers
        lowest = np.maximum(_smallest(own, reader.layer, arrays), 0)
        shared = lowest.reshape(-1, pair.channels).min(axis=0)
        if not shared.any():
            continue
        before = maker.layer.bias.numpy(), reader.layer.bias.numpy()
        _shift(maker.layer, reader.layer, shared)
        if difference(wanted, results(own, arrays)) > ROUNDING:
            maker.layer.bias.assign(before[0])
            reader.layer.bias.assign(before[1])
    return own


def _can_shift(pair: Pair) -> bool:
    """Whether one layer makes the channels and one reads them, both with biases."""
    if len(pair.makers) != 1 or len(pair.readers) != 1 or pair.clips:
        return False
    maker, reader = pair.makers[0], pair.readers[0]
    return maker.biased and reader.layer is not maker.layer and reader.layer.use_bias


def _smallest(model: tf_keras.Model, layer: Layer, arrays: Sequence[Any]) -> np.ndarray:
    """The smallest value of each channel that a layer reads."""
    found: list[np.ndarray] = []

    def see(node: Node, value: Any) -> None:
        if node.layer is layer:
            found.append(np.min(value, axis=tuple(range(len(value.shape) - 1))))

    watch(model, arrays, see)
    return found[0].astype(np.float64)


def _shift(maker: Layer, reader: Layer, values: np.ndarray) -> None:
    """Makes channels smaller by some values, and adds to what reads them what these gave."""
    kernels = {
        name: getattr(reader, name).numpy().astype(np.float64)
        for name in ("kernel", "depthwise_kernel", "pointwise_kernel")
        if getattr(reader, name, None) is not None
    }
    channels = reader.input_shape[-1]
    read = through(reader, np.tile(values, channels // len(values)), kernels)
    maker.bias.assign_sub(np.tile(values, maker.output_shape[-1] // len(values)))
    reader.bias.assign_add(read)
