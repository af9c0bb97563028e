"""What an optimizer step leaves of the kernels that train outside of a fake-quantizing wrapper."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfopt import facts
from tfopt.gains import hold
from tfopt.keras_gate import tf_keras
from tfopt.quantization.grid import Grid, inner_grids
from tfopt.quantization.layout import Layout
from tfopt.tflite.tracing import has_lstm_ops


def keeper(
    model: tf_keras.Model,
    layout: Layout,
    found: tuple[facts.KernelFacts, ...],
    *,
    touched: frozenset[str],
) -> Callable[[], None] | None:
    """Returns what puts the kernels outside a layout right after an optimizer step.

    Wrapped kernels (`KernelQuantizer`) need nothing. The others are those of recurrent cells,
    attention, embeddings and layers left out. In a layer that may be rounded, a kernel is put on
    the grid it will have in the file, at once and after each step. A sparse kernel gets its zeros
    back, and a clustered one is held: it gets back the values it has now, which an earlier step has
    trained already.

    Args:
        model: A functional float model whose layers outside the layout are to be trained.
        layout: What of it is fake-quantized.
        found: What is true of its kernels.
        touched: Names of the layers that may be rounded.

    Returns:
        A function that changes the kernels with TensorFlow operations; None if there is nothing to
        do.
    """
    gains = {(fact.layer, fact.kernel): fact for fact in found}
    lstm_ops = has_lstm_ops(model)
    updates: dict[int, Callable[[], None]] = {}
    for layer in model.layers:
        if layer.name in layout.kernels:
            continue
        bits = layout.bits(layer.name)
        is_touched = layer.name in touched
        grids = inner_grids(layer, lstm_ops=lstm_ops, bits=bits) if is_touched else {}
        for key, kernel in facts.trainable_kernels(layer).items():
            fact, grid = gains.get((layer.name, key)), grids.get(id(kernel))
            if grid is not None and not (fact is not None and fact.shares_values):
                update: Callable[[], None] | None = _round(kernel, grid)
            else:
                update = None if fact is None else hold(kernel, fact)
            if update is not None:
                updates[id(kernel)] = update
    if not updates:
        return None

    def keep() -> None:
        for update in updates.values():
            update()

    return keep


def _round(kernel: tf.Variable, grid: Grid) -> Callable[[], None]:
    """Puts a kernel on its grid, and again after each step, zeros staying zeros.

    Steps are smaller than the grid's: they add up in a variable of its own, of which the kernel is
    the rounded value. So gradients are taken at the rounded kernel and change the exact one, which
    is what a straight-through estimator does, in layers that take no tensor for a kernel.

    References:
        Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons for
        Conditional Computation, 2013, section 4; Courbariaux et al., BinaryConnect, 2015,
        algorithm 1.
    """
    mask = tf.cast(kernel != 0, kernel.dtype)
    exact = tf.Variable(kernel, trainable=False)
    before = tf.Variable(grid.rounded(kernel), trainable=False)
    kernel.assign(before)

    def update() -> None:
        exact.assign_add((kernel - before) * mask)
        before.assign(grid.rounded(exact))
        kernel.assign(before)

    return update
