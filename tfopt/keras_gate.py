"""The one place that chooses a Keras: `tf_keras` and TF-MOT, without touching the user's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from unittest import mock

import tf_keras

from tfopt.errors import ModelError

if TYPE_CHECKING:
    import tensorflow_model_optimization as tfmot

__all__ = ["clone", "load_model", "save_model", "tf_keras", "tfmot"]


def __getattr__(name: str) -> Any:
    """Imports TF-MOT when it is first asked for."""
    if name == "tfmot":
        globals()["tfmot"] = _import_tfmot()
        return globals()["tfmot"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _import_tfmot() -> Any:
    """Imports TF-MOT with the user's `tf.keras` and environment as they were.

    TF-MOT sets TF_USE_LEGACY_KERAS for the whole process, and resolves `tf.keras` and
    `tf.compat.v1.keras`, which from then on are Keras 2 for everyone: so it is shown tf_keras in
    their place while it is imported.
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


def load_model(model: Any) -> Any:
    if not isinstance(model, tf_keras.Model):
        raise ModelError(received=repr(model), expected="a tf_keras model", fix="being built")
    return clone(model)


def clone(model: Any) -> Any:
    tfmot = _import_tfmot()
    with tfmot.quantization.keras.quantize_scope():
        copy = tf_keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for old, new in zip(model._flatten_layers(), copy._flatten_layers(), strict=True):
        new.trainable = old.trainable
        if isinstance(new, tf_keras.layers.Normalization):
            new.finalize_state()
    return copy


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    model.save(path)
