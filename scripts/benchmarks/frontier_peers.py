"""TF-MOT's techniques through its own API: a model in, a trained and stripped model out."""

from __future__ import annotations

from typing import Any

import numpy as np

import tfopt
from tfopt.keras_gate import clone
from tfopt.training import fine_tune, steps_per_epoch, total_steps


def prune(
    model: Any, task: tfopt.Task, *, epochs: float, learning_rate: float, sparsity: float
) -> Any:
    """Prunes by magnitude, each kernel alike, along its polynomial schedule."""
    import tensorflow_model_optimization as tfmot

    api = tfmot.sparsity.keras
    steps = total_steps(epochs, steps_per_epoch(task))
    ramp = max(1, steps // 2)
    schedule = api.PolynomialDecay(
        0.0, sparsity, begin_step=0, end_step=ramp, frequency=max(1, min(100, ramp // 20))
    )
    wrapped = api.prune_low_magnitude(clone(model), pruning_schedule=schedule)
    _train(wrapped, task, epochs, learning_rate, [api.UpdatePruningStep()])
    return api.strip_pruning(wrapped)


def cluster(model: Any, task: tfopt.Task, *, epochs: float, learning_rate: float) -> Any:
    """Clusters to 16 values; zeros stay zeros, if the model has been pruned."""
    import tensorflow_model_optimization as tfmot
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import (
        cluster as experimental,
    )

    settings = {
        "number_of_clusters": 16,
        "cluster_centroids_init": tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
    }
    own = clone(model)
    if _sparse(own):
        wrapped = experimental.cluster_weights(own, preserve_sparsity=True, **settings)
    else:
        wrapped = tfmot.clustering.keras.cluster_weights(own, **settings)
    _train(wrapped, task, epochs, learning_rate, [])
    return tfmot.clustering.keras.strip_clustering(wrapped)


def quantize(model: Any, task: tfopt.Task, *, epochs: float, learning_rate: float) -> Any:
    """Trains quantization-aware; keeps zeros and clusters, if the model has been pruned."""
    import tensorflow_model_optimization as tfmot

    api = tfmot.quantization.keras
    own = clone(model)
    if _sparse(own):
        scheme = tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(
            preserve_sparsity=True
        )
        wrapped = api.quantize_apply(api.quantize_annotate_model(own), scheme)
    else:
        wrapped = api.quantize_model(own)
    _train(wrapped, task, epochs, learning_rate, [])
    return wrapped


def _train(
    model: Any, task: tfopt.Task, epochs: float, learning_rate: float, callbacks: list[Any]
) -> None:
    """The optimizer, schedule and batches that tfopt's rows are trained with."""
    fine_tune(model, task, epochs=epochs, learning_rate=learning_rate, callbacks=callbacks)


def _sparse(model: Any) -> bool:
    """Whether a model has been pruned."""
    kernels = [weight for weight in model.get_weights() if weight.ndim > 1]
    return np.mean([np.mean(kernel == 0) for kernel in kernels]) > 0.1
