"""Walking a functional model call by call, and building it again with layers replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.keras_gate import check_loaded, tf_keras

Layer = Any
"""A tf_keras layer."""
Node = Any
"""One call of a layer; a shared layer has several."""
KerasTensor = Any
"""What one call hands to the next."""


def nodes(model: tf_keras.Model) -> Iterator[Node]:
    """Yields the calls of a model in an order in which they can be made, inputs first.

    Args:
        model: A functional or built Sequential model.

    Raises:
        ModelError: It is none of tf_keras.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(2, name="top", input_shape=(3,))])
        >>> [type(node.layer).__name__ for node in nodes(model)]
        ['InputLayer', 'Dense']
    """
    check_loaded(model)
    by_depth = model._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def outputs(node: Node) -> list[KerasTensor]:
    """Returns the tensors a call made."""
    return tf.nest.flatten(node.outputs)


def rebuild(
    model: tf_keras.Model,
    *,
    replace: Callable[[Layer], Layer] = lambda layer: layer,
    follow: Callable[[KerasTensor, KerasTensor], KerasTensor] = lambda old, new: new,
    input_types: Mapping[str, str] = MappingProxyType({}),
) -> tuple[tf_keras.Model, dict[int, KerasTensor]]:
    """Calls a model's layers again, one by one, with their recorded arguments.

    TF-MOT's `ModelTransformer` edits the model's configuration instead, which loses the order of a
    layer's inputs (an InceptionV3 becomes another function) and the state of `Normalization`
    layers, and takes minutes on a deep net. Calling again keeps the arguments as they are.

    Args:
        model: A functional or built Sequential model. The new model shares the layers that
            `replace` gives back as they are.
        replace: Gives the layer to call in the place of one; it is asked once for each layer.
        follow: Gives the tensor that consumers see in the place of a new one, told which tensor of
            `model` it stands for. So layers can be added behind another.
        input_types: The data types of inputs that are to be others, by the names of their layers.

    Returns:
        The new model, and its tensors by the id of the tensor of `model` they stand for: as the
        layers made them, before `follow`.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(2, name="top", input_shape=(3,))])
        >>> again, _ = rebuild(model, follow=lambda old, new: tf_keras.layers.ReLU()(new))
        >>> [type(layer).__name__ for layer in again.layers]
        ['InputLayer', 'ReLU', 'Dense', 'ReLU']
    """
    made: dict[int, KerasTensor] = {}
    seen: dict[int, KerasTensor] = {}
    layers: dict[int, Layer] = {}

    def current(value: Any) -> Any:
        return seen.get(id(value), value)

    for node in nodes(model):
        if node.is_input:
            config = node.layer.get_config()
            config["dtype"] = input_types.get(node.layer.name, config["dtype"])
            results = tf_keras.layers.InputLayer.from_config(config).output
        else:
            if id(node.layer) not in layers:
                layers[id(node.layer)] = replace(node.layer)
            args, kwargs = tf.nest.map_structure(current, (node.call_args, node.call_kwargs))
            results = layers[id(node.layer)](*args, **kwargs)
        for old, new in zip(outputs(node), tf.nest.flatten(results), strict=True):
            made[id(old)] = new
            seen[id(old)] = follow(old, new)
    inputs = tf.nest.map_structure(lambda old: made[id(old)], model.input)
    results = tf.nest.map_structure(current, model.output)
    rebuilt = tf_keras.Model(inputs, results, name=model.name)
    # An output may now come from a layer that rounds it; labels and losses go by the user's names.
    rebuilt.output_names = list(model.output_names)
    return rebuilt, made


def built_copy(layer: Layer, input_shape: Any, changes: dict[str, Any] | None = None) -> Layer:
    """Returns a layer of the same configuration, built, with weights of its own.

    Args:
        layer: A Keras layer that its configuration describes fully.
        input_shape: What to build it for.
        changes: Entries of the configuration that are to be others.

    Example:
        >>> dense = tf_keras.layers.Dense(2, name="top")
        >>> copy = built_copy(dense, (None, 3), {"activation": "relu"})
        >>> copy.name, copy.activation.__name__, tuple(copy.kernel.shape)
        ('top', 'relu', (3, 2))
    """
    copy = type(layer).from_config({**layer.get_config(), **(changes or {})})
    with tf.name_scope(copy.name):
        copy.build(input_shape)
    return copy


def resized(layer: Layer, changes: dict[str, Any]) -> Layer:
    """Returns a layer of the same configuration but for its sizes, not yet built.

    An initializer that holds an array fits one size alone: the class's default takes its place.

    Args:
        layer: A Keras layer that its configuration describes fully.
        changes: Entries of the configuration that are to be others.

    Example:
        >>> table = tf_keras.initializers.Constant(np.eye(3))
        >>> dense = tf_keras.layers.Dense(3, kernel_initializer=table, bias_initializer="ones")
        >>> smaller = resized(dense, {"units": 2})
        >>> smaller.units, *(type(getattr(smaller, f"{weight}_initializer")).__name__
        ...                  for weight in ("kernel", "bias"))
        (2, 'GlorotUniform', 'Ones')
    """
    config = {
        key: value
        for key, value in layer.get_config().items()
        if not (key.endswith("_initializer") and _holds_array(value))
    }
    return type(layer).from_config({**config, **changes})


def _holds_array(initializer: Any) -> bool:
    """Whether an initializer, as an entry of a configuration, gives the elements of an array."""
    return np.ndim(getattr(tf_keras.initializers.get(initializer), "value", 0)) > 0
