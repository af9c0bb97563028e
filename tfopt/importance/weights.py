"""How much a channel matters, read off the weights."""

from __future__ import annotations

import numpy as np

from tfopt.graph.dependencies import Dependencies
from tfopt.importance.votes import Votes
from tfopt.keras_gate import tf_keras


def norms(dependencies: Dependencies, *, order: int) -> np.ndarray:
    """Scores units by the norm of the weights that make them, carry them and read them.

    Weights that are all zero, such as untrained biases of attention heads, say nothing.

    Args:
        dependencies: What goes together.
        order: 1 for the sum of magnitudes, 2 for the Euclidean norm.

    Returns:
        (units,), at least 0; 1 is the mean of a layer.

    Example:
        >>> from tfopt.graph.dependencies import analyse
        >>> from tfopt.testing import dense_net
        >>> found = analyse(dense_net())
        >>> found.model.get_layer("hidden").kernel.assign(np.ones((64, 32)))  # doctest: +ELLIPSIS
        <tf.Variable ...
        >>> found.model.get_layer("probabilities").kernel.assign(np.ones((32, 10)))
        ... # doctest: +ELLIPSIS
        <tf.Variable ...
        >>> set(norms(found, order=1)[found.groups[0].units].tolist())
        {1.0}

    References:
        Li et al., Pruning Filters for Efficient ConvNets, 2017, section 3.1 (L1, of the layer that
        makes the channel). Fang et al., DepGraph, 2023, section 3.3 (over all coupled layers).
    """
    votes = Votes(dependencies)
    for axis in dependencies.axes:
        value = np.abs(axis.variable.numpy().astype(np.float64)) ** order
        if value.ndim > 1 and value.any():
            others = tuple(set(range(value.ndim)) - {axis.axis})
            votes.add(axis.ids, value.sum(axis=others) ** (1 / order))
    return votes.mean()


def batch_norm_scales(dependencies: Dependencies) -> np.ndarray:
    """Scores units by the magnitude of the batch norms' scales behind them.

    Returns:
        (units,), NaN for one that no batch norm scales.

    References:
        Liu et al., Learning Efficient Convolutional Networks through Network Slimming, 2017,
        section 3 (there trained with an L1 penalty on the scales first).
    """
    votes = Votes(dependencies, relative=False)
    for axis in dependencies.axes:
        norm = axis.layer
        if type(norm) is tf_keras.layers.BatchNormalization and axis.variable is norm.gamma:
            votes.add(axis.ids, np.abs(norm.gamma.numpy()))
    return votes.mean(unknown=np.nan)
