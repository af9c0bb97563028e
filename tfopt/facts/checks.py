"""What no technique can work on, nor the converter: weights that are no numbers, and wrappers."""

from __future__ import annotations

import numpy as np

from tfopt.errors import ModelError
from tfopt.facts.kernels import unwrapped, wrapper_names
from tfopt.facts.model import layers_of
from tfopt.keras_gate import tf_keras

# What takes a layer's wrapper off again, by what the wrapper or its quantizer is called.
_WAYS_OUT = {
    "PruneLowMagnitude": "pass tfmot.sparsity.keras.strip_pruning(model)",
    "ClusterWeights": "pass tfmot.clustering.keras.strip_clustering(model)",
    "KernelWrapper": "call strip() of what wrap returned, and pass the model it gives",
    "RunningRange": "call strip() of what wrap returned, and pass the model it gives",
}


def check_usable(model: tf_keras.Model) -> None:
    """Refuses a model that nothing good can come of.

    Args:
        model: A built tf_keras model.

    Raises:
        ModelError: A weight is NaN or infinite, or layers are still wrapped for training.

    Example:
        >>> check_usable(tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(2,))]))
    """
    check_stripped(model)
    broken = broken_weights(model)
    if broken is not None:
        raise ModelError(
            received=f"{broken} of model {model.name!r}",
            expected="weights that are numbers",
            fix="look for the step of training that made it, or train with a smaller learning rate",
        )


def check_stripped(model: tf_keras.Model) -> None:
    """Refuses a model whose layers are wrapped for a training that changes them as it goes.

    TF-MOT's fake quantization is none of these: it is what a file is made of.

    Raises:
        ModelError: One is; the fix takes the wrappers off.
    """
    for layer in layers_of(model):
        for kind in _kinds(layer) & _WAYS_OUT.keys():
            raise ModelError(
                received=f"model {model.name!r}, whose layer {layer.name!r} is still wrapped for "
                f"training ({kind})",
                expected="a model without what only its training needs",
                fix=_WAYS_OUT[kind],
            )


def broken_weights(model: tf_keras.Model) -> str | None:
    """Says where a weight is no number, None if all are: `NaN in the weights of layer 'a' (bias)`.

    A weight that no training changes may be infinite, as masks are.
    """
    for layer in layers_of(model):
        for weight in layer.weights:
            value = weight.numpy() if weight.dtype.is_floating else 0
            kind = "NaN" if np.isnan(value).any() else "infinity"
            if kind == "NaN" or (weight.trainable and np.isinf(value).any()):
                name = weight.name.split("/")[-1].split(":")[0]
                return f"{kind} in the weights of layer {unwrapped(layer).name!r} ({name})"
    return None


def _kinds(layer: tf_keras.layers.Layer) -> set[str]:
    """What TF-MOT's and tfopt's classes of a layer and of its quantizer are called."""
    classes = (type(layer), type(getattr(layer, "quantizer", None)))
    ours = {cls.__name__ for cls in classes if cls.__module__.startswith("tfopt.")}
    return wrapper_names(layer) | ours
