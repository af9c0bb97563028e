"""Runs a Keras 3 model and its translation on arrays, whole or step by step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfopt.keras3.translation import Step, Translation


def run_keras3(model: Any, translation: Translation, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Returns what the Keras 3 model makes of an array for each input, flat."""
    tensors = [keras.ops.convert_to_tensor(array) for array in inputs]
    args = keras.tree.pack_sequence_as(translation.args, tensors)
    kwargs = {"training": False} if model._call_has_training_arg else {}
    return as_arrays(model(*args, **kwargs))


def run_tf_keras(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Returns what a tf_keras model makes of an array for each input, flat."""
    return as_arrays(model(inputs[0] if len(inputs) == 1 else inputs, training=False))


def repeated(step: Step, values: dict[int, Any]) -> list[Any]:
    """Returns what Keras 3 computes in a step, flat.

    Args:
        step: The step.
        values: A value for each tf_keras tensor, by its id.
    """
    args, kwargs = keras.tree.map_structure(
        lambda leaf: values.get(id(leaf), leaf), (step.args, step.kwargs)
    )
    if getattr(step.call, "_call_has_training_arg", False):
        kwargs["training"] = False
    return list(keras.tree.flatten(step.call(*args, **kwargs)))


def as_arrays(outputs: Any) -> list[np.ndarray]:
    """Returns the tensors of a structure as arrays, flat."""
    return [
        np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in keras.tree.flatten(outputs)
    ]
