"""Python functions inside a Keras 3 model that call TensorFlow itself."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from tfopt.keras2.graph import is_symbol, nodes_between
from tfopt.keras2.names import Names


def tensorflow_layers(
    function: Any, args: Any, kwargs: dict[str, Any], names: Names, path: list[str]
) -> Any:
    """Returns what a function computes, as layers of a tf_keras graph.

    tf_keras records each TensorFlow function as a layer, which saves and loads. A function that
    does more than TensorFlow can be told in symbols becomes a Lambda, which keeps the function.

    Args:
        function: The user's function.
        args: Its positional arguments, tf_keras tensors in them.
        kwargs: Its keyword arguments.
        names: The model's layer names.
        path: Where the function stands, for the names of its layers.
    """
    inputs = [x for x in tf.nest.flatten((args, kwargs)) if is_symbol(x)]
    try:
        outputs = function(*args, **kwargs)
        nodes = nodes_between(inputs, outputs)
    except Exception:  # the code is the user's: it may fail on symbols in any way
        layer = tf_keras.layers.Lambda(function, arguments=kwargs, name=names.take("_".join(path)))
        return layer(*args)
    for node in nodes:
        node.layer._name = names.take(node.layer.name, path)
    return outputs
