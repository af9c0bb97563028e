"""Rounding weight after weight, each error made up for by the weights that are still to come."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfopt.rounding.grid import Grid

_DAMPING = 0.01


def recover(grid: Grid, gram: np.ndarray, missing: np.ndarray) -> Grid:
    """Returns weights that make up for what the layer's inputs have lost to earlier rounding.

    They are the least-squares fit of the float model's outputs to the inputs there are now.

    Args:
        grid: The kernel's, of matrices: (groups, inputs, outputs).
        gram: Products of the layer's inputs with each other, summed over the calibration data:
            (groups, inputs, inputs).
        missing: Products of the inputs with what is missing in the outputs: (groups, inputs,
            outputs).

    Returns:
        A grid of the same scales. Weights without a choice stay where they are.

    References:
        Li et al., GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric Calibration, 2025
        (the same least squares, solved weight by weight).
    """
    change = _inverse(gram) @ _in_mean(gram, missing)
    weights = grid.steps * grid.scale + np.where(grid.fixed, 0, change)
    return Grid.of(weights, grid.scale, grid.largest)


def compensate(grid: Grid, gram: np.ndarray) -> np.ndarray:
    """Returns integers whose errors cancel in the layer's outputs.

    The inputs that carry most are rounded first, as long as there are many weights left to make up
    for the error. Weights without a choice take part: the others make up for what clipping and
    pruning took away.

    Args:
        grid: The kernel's, of matrices: (groups, inputs, outputs).
        gram: As for `recover`.

    Returns:
        The integers as float32, shaped like `grid.steps`.

    Example:
        >>> grid = Grid.of(np.array([[[1.0], [0.4], [0.4]]]), np.array([[[1.0]]]), 1)
        >>> same_inputs = np.ones((1, 3, 3))
        >>> grid.nearest()[0, :, 0], compensate(grid, same_inputs)[0, :, 0]
        (array([1., 0., 0.], dtype=float32), array([1., 0., 1.], dtype=float32))

    References:
        Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
        Transformers, 2022, algorithm 1 (with the inputs in the order of their energy, as in the
        authors' code).
    """
    energy = np.diagonal(gram, axis1=1, axis2=2)
    order = np.argsort(-energy, axis=1, kind="stable")
    inverse = _inverse(_ordered(_ordered(gram, order, 1), order, 2))
    factor = tf.linalg.cholesky(inverse).numpy().swapaxes(1, 2)
    steps = _ordered(grid.steps.astype(np.float64), order, 1)
    fixed = _ordered(grid.fixed, order, 1)
    integers = np.rint(steps)
    for row in range(steps.shape[1]):
        free = np.rint(steps[:, row]).clip(-grid.largest, grid.largest)
        integers[:, row] = np.where(fixed[:, row], integers[:, row], free)
        error = (steps[:, row] - integers[:, row]) / factor[:, row, row, None]
        steps[:, row + 1 :] -= factor[:, row, row + 1 :, None] * error[:, None]
    return _ordered(integers, np.argsort(order, axis=1), 1).astype(np.float32)


def _inverse(gram: np.ndarray) -> np.ndarray:
    """The inverse in units of the mean energy; inputs that are always zero say nothing."""
    count = gram.shape[-1]
    damping = np.where(_energy(gram) > 0, _DAMPING, 1) * np.eye(count)
    identity = tf.eye(count, batch_shape=[len(gram)], dtype=tf.float64)
    factor = tf.linalg.cholesky(_in_mean(gram, gram) + damping)
    return tf.linalg.cholesky_solve(factor, identity).numpy()


def _in_mean(gram: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Products in units of the inputs' mean energy, in double precision."""
    energy = _energy(gram)
    return products.astype(np.float64) / np.where(energy > 0, energy, 1)


def _energy(gram: np.ndarray) -> np.ndarray:
    """The mean energy of the inputs of each group."""
    mean: np.ndarray = np.trace(gram, axis1=1, axis2=2, dtype=np.float64) / gram.shape[-1]
    return mean[:, None, None]


def _ordered(values: np.ndarray, order: np.ndarray, axis: int) -> np.ndarray:
    """Values of each group in an order of the group's own."""
    index = order[:, :, None] if axis == 1 else order[:, None, :]
    return np.take_along_axis(values, index, axis=axis)
