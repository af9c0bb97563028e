"""Imports TF-MOT without changing which Keras the user's own `tf.keras` is."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

import tf_keras

# What tfopt's models are made of beside tf_keras and TF-MOT: registered once it is imported.
_REGISTERING = (
    *("tfopt.keras3.activations", "tfopt.keras3.operation", "tfopt.keras3.twins"),
    *("tfopt.quantization.kernels", "tfopt.quantization.ranges"),
)


@functools.cache
def tfmot() -> Any:
    """Returns TensorFlow Model Optimization, imported with everything of the user's as it was.

    TF-MOT sets TF_USE_LEGACY_KERAS for the whole process and resolves `tf.keras` and
    `tf.compat.v1.keras`, which from then on would be Keras 2 for everyone: so it is shown tf_keras
    in their place while it is imported.
    """
    import tensorflow as tf
    from tf_keras.api._v1 import keras as tf_keras_v1

    with (
        mock.patch.dict(os.environ),
        mock.patch.object(tf, "keras", tf_keras),
        mock.patch.object(tf.compat.v1, "keras", tf_keras_v1),
    ):
        import tensorflow_model_optimization
    return tensorflow_model_optimization


@contextlib.contextmanager
def every_scope(*models: Any) -> Iterator[None]:
    """Lets tf_keras rebuild tfopt's and TF-MOT's layers, its applications', and those of models.

    Args:
        models: tf_keras models whose layer classes have to be found by name.
    """
    for module in _REGISTERING:
        importlib.import_module(module)
    keras = tfmot().quantization.keras, tfmot().sparsity.keras, tfmot().clustering.keras
    quantization, sparsity, clustering = keras
    with (
        quantization.quantize_scope(_application_layers()),
        sparsity.prune_scope(),
        clustering.cluster_scope(),
        tf_keras.utils.custom_object_scope(_layer_classes(models)),
    ):
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps tf_keras' remarks on file formats and compile state, which the user cannot act on."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are saving your model as an HDF5 file")
            yield
    finally:
        logger.setLevel(level)


def _application_layers() -> dict[str, type]:
    """The layers that tf_keras' applications define and forget to register."""
    from tf_keras.src.applications import convnext, inception_resnet_v2

    return {
        "LayerScale": convnext.LayerScale,
        "StochasticDepth": convnext.StochasticDepth,
        "CustomScaleLayer": inception_resnet_v2.CustomScaleLayer,
    }


def _layer_classes(models: tuple[Any, ...]) -> dict[str, type]:
    """The classes of the models' layers that tf_keras does not know by itself."""
    classes = {type(layer) for model in models for layer in model._flatten_layers()}
    return {
        cls.__name__: cls
        for cls in classes
        if not cls.__module__.startswith(("tf_keras.", "tensorflow_model_optimization."))
    }
