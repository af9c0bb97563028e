"""Keeping what earlier steps gained in the kernels that train without being fake-quantized."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfopt import facts
from tfopt.keras_gate import tf_keras
from tfopt.quantization.layout import Layout


def keeper(
    model: tf_keras.Model, layout: Layout, found: tuple[facts.KernelFacts, ...]
) -> Callable[[], None] | None:
    """Returns what gives the kernels outside a layout their gains back after an optimizer step.

    Fake-quantized kernels keep theirs by themselves (`KernelQuantizer`). Of the others, those of
    recurrent cells, attention, embeddings and layers left out, a sparse kernel trains on with its
    zeros set to zero again, and a clustered one is held: it gets back the values it has now, which
    an earlier step has trained already.

    Args:
        model: A functional float model whose layers outside the layout are to be trained.
        layout: What of it is fake-quantized.
        found: What is true of its kernels.

    Returns:
        A function that changes the kernels with TensorFlow operations; None if there is no gain to
        keep.
    """
    gains = {(fact.layer, fact.kernel): fact for fact in found}
    masked: dict[int, tuple[tf.Variable, tf.Tensor]] = {}
    held: dict[int, tuple[tf.Variable, tf.Tensor]] = {}
    for layer in model.layers:
        if layer.name in layout.kernels:
            continue
        for key, kernel in facts.trainable_kernels(layer).items():
            fact = gains.get((layer.name, key))
            if fact is None:
                continue
            if fact.clustered or fact.clustered_per_channel:
                held[id(kernel)] = kernel, tf.identity(kernel)
            elif fact.sparsity:
                masked[id(kernel)] = kernel, tf.cast(kernel != 0, kernel.dtype)
    if not masked and not held:
        return None

    def keep() -> None:
        for kernel, mask in masked.values():
            kernel.assign(kernel * mask)
        for kernel, value in held.values():
            kernel.assign(value)

    return keep
