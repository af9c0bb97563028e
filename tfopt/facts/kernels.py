"""The kernels of a layer, whatever wraps or nests them."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from tfopt.keras2.protocols import CLUSTERABLE, PRUNABLE, declared
from tfopt.keras_gate import tf_keras

# The attributes in which Keras' layers keep what they multiply or look up. Biases, batch-norm
# scales and the like are few and matter much: no technique gains anything from touching them.
_KERNEL_ATTRIBUTES = (
    "kernel",
    "recurrent_kernel",
    "depthwise_kernel",
    "pointwise_kernel",
    "embeddings",
)


def kernels(layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
    """Returns the kernels of a layer that are worth optimizing, whatever wraps or nests them.

    Seen through are TimeDistributed, Bidirectional, recurrent cells, MultiHeadAttention, custom
    layers made of Keras layers, and TF-MOT's pruning, clustering and quantization wrappers. A
    custom layer may name its own, as TF-MOT's PrunableLayer and ClusterableLayer do.

    Args:
        layer: A built layer.

    Returns:
        The variables. A key is the way to one by attribute names: `kernel`, `depthwise_kernel`,
        `cell.recurrent_kernel`, `forward_layer.cell.kernel`, `query_dense.kernel`. Empty for a
        layer that has none, or that is not built.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.LSTM(3, input_shape=(5, 2))])
        >>> {key: tuple(kernel.shape) for key, kernel in kernels(model.layers[0]).items()}
        {'cell.kernel': (2, 12), 'cell.recurrent_kernel': (3, 12)}
    """
    found: dict[str, tf.Variable] = {}
    seen: set[int] = set()
    for key, variable in _walk(unwrapped(layer), "", replaced=_replaced_kernels(layer)):
        if id(variable) not in seen:
            seen.add(id(variable))
            found[key] = variable
    return found


def trainable_kernels(layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
    """Returns those of a layer's `kernels` that are not frozen."""
    trained = {id(weight) for weight in layer.trainable_weights}
    return {key: kernel for key, kernel in kernels(layer).items() if id(kernel) in trained}


def unwrapped(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
    """Returns the user's own layer inside a TF-MOT wrapper, or the layer itself."""
    while _is_training_wrapper(layer):
        layer = layer.layer
    return layer


def wrapper_names(layer: tf_keras.layers.Layer) -> set[str]:
    """Returns the names of TF-MOT's classes that a layer's class is or derives from.

    By name, so as not to import TF-MOT; a class of the user's may be called like one of them.
    """
    return {
        base.__name__
        for base in type(layer).__mro__
        if base.__module__.startswith("tensorflow_model_optimization.")
    }


def own_weights(layer: tf_keras.layers.Layer) -> list[tf.Variable]:
    """Returns the weights of the user's own layer: no mask, centroid or quantization range."""
    if "QuantizeLayer" in wrapper_names(layer):
        return []
    return [*unwrapped(layer).weights, *_replaced_kernels(layer)]


def _is_training_wrapper(layer: tf_keras.layers.Layer) -> bool:
    """Whether a layer is one of TF-MOT's wrappers."""
    return bool(wrapper_names(layer) & {"PruneLowMagnitude", "ClusterWeights", "QuantizeWrapper"})


def _replaced_kernels(layer: tf_keras.layers.Layer) -> list[tf.Variable]:
    """The variables whose place in the layer a wrapper gave to a tensor (a quantized one, say)."""
    replaced: list[tf.Variable] = []
    while _is_training_wrapper(layer):
        replaced += [variable for variable, *_ in getattr(layer, "_weight_vars", [])]
        replaced += getattr(layer, "original_clusterable_weights", {}).values()
        layer = layer.layer
    return replaced


def _walk(
    layer: tf_keras.layers.Layer, path: str, *, replaced: list[tf.Variable]
) -> Iterator[tuple[str, tf.Variable]]:
    """The kernels of a layer and of the layers in it, each with the way to it."""
    for attribute in _KERNEL_ATTRIBUTES:
        value = getattr(layer, attribute, None)
        if value is None or callable(value):
            continue
        if not hasattr(value, "assign"):
            value = next((v for v in replaced if _last_name(v) == attribute), None)
        if value is not None:
            replaced = [variable for variable in replaced if variable is not value]
            yield path + attribute, value
    for protocol in (PRUNABLE, CLUSTERABLE):
        for name, variable in declared(layer, protocol).items():
            if hasattr(variable, "assign"):  # else a tensor that a wrapper has put in its place
                yield path + name, variable
    for name, part in _parts(layer):
        yield from _walk(part, f"{path}{name}.", replaced=replaced)


def _parts(layer: tf_keras.layers.Layer) -> Iterator[tuple[str, tf_keras.layers.Layer]]:
    """The layers a layer is made of, each with the attribute that holds it."""
    names = {id(value): name.lstrip("_") for name, value in vars(layer).items()}
    for index, part in enumerate(layer._flatten_layers(recursive=False, include_self=False)):
        yield names.get(id(part), f"layers[{index}]"), part


def _last_name(variable: tf.Variable) -> str:
    """`kernel` for a variable named `block/conv/kernel:0`."""
    return variable.name.split("/")[-1].split(":")[0]
