"""Exact copies of tf_keras layers: configuration, weights, statistics and trainable flags."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfopt.errors import ModelError

# What TF-MOT's clustering notes down in plain tensors when it is built: by weight, where its zeros
# are, and which centroid is theirs.
UNSAVED = ("sparsity_masks", "zero_idx")

# What stands around the cause in an error's text: bold type and graph nodes; and in front of it, in
# which call it came up, which Keras was working out a shape then, and the lines of the user's code.
_MARKS = re.compile(r"\x1b\[\d*m|\{\{function_node .*?\}\}\s*|\s*\[Op:\w+\](?: name:)?")
_AROUND = re.compile(
    r"Exception encountered when calling (.+?)\.\n\n|Could not automatically infer .+\n\n"
    r"|in user code:\n\n(?:.+\n)+\n(?:\w+: (?=Exception encountered))?"
)


def copy_layer(layer: Any, name: str, *, float32: bool = False) -> Any:
    """Returns a new layer that behaves as `layer` does once `copy_state` has filled it.

    Args:
        layer: A tf_keras layer. It is read only.
        name: Name of the copy.
        float32: Whether a layer that computes in half precision gets to compute in 32 bits.

    Raises:
        ModelError: The layer's class cannot be rebuilt from its configuration.
    """
    if type(layer) is tf_keras.layers.Lambda:
        return _copy_lambda(layer, name)
    try:
        config = layer.get_config()
        config["name"] = name
        if float32:
            config = _in_32_bits(config)
        copy = type(layer).from_config(config)
        if hasattr(layer, "quantize_config"):  # its configuration leaves some quantizers out
            copy.quantize_config = deepcopy(layer.quantize_config)
    except Exception as error:
        raise ModelError(
            received=f"the layer {layer.name!r} of class {type(layer).__name__}, which cannot be "
            f"rebuilt from its configuration ({first_line(error)})",
            expected="layers whose from_config(get_config()) gives the same layer",
            fix=_fix(type(layer)),
        ) from error
    return primed(copy, ((weight.name, weight.numpy()) for weight in layer.weights))


def _fix(cls: type) -> str:
    """The way out of a layer that cannot be rebuilt: one of tf_keras' own was given what cannot."""
    if cls.__module__.startswith("tf_keras."):
        return (
            "decorate the function or class that it was given with "
            "@tf_keras.utils.register_keras_serializable(); write a lambda as a function"
        )
    return f"write {cls.__name__}.get_config so that it returns every argument of __init__"


def _in_32_bits(config: Any) -> Any:
    """A configuration with half precision, of the layer or one inside, raised to 32 bits."""
    if isinstance(config, dict):
        return {
            key: "float32" if key == "dtype" and "float16" in str(value) else _in_32_bits(value)
            for key, value in config.items()
        }
    return [_in_32_bits(item) for item in config] if isinstance(config, list) else config


def _copy_lambda(layer: Any, name: str) -> Any:
    """A Lambda keeps its function: rebuilt from bytecode it would lose the names it refers to."""
    return tf_keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=name,
        trainable=layer.trainable,
    )


def primed(layer: Any, weights: Iterable[tuple[str, np.ndarray]]) -> Any:
    """Lets TF-MOT's wrapper find the right weights in the layer it wraps when it is built.

    It counts clusters and notes zeros there: built around random weights, the wrapper would hold
    other variables than the one it stands for.

    Args:
        layer: A layer not built yet, of any class.
        weights: Names and values of the weights it will hold, in order.

    Returns:
        The same layer.
    """
    if not type(layer).__module__.startswith("tensorflow_model_optimization."):
        return layer
    if not isinstance(layer, tf_keras.layers.Wrapper):
        return layer
    build, values = layer.build, list(weights)

    def build_primed(input_shape: Any) -> None:
        del layer.build
        with tf.name_scope(layer.layer.name):
            layer.layer.build(input_shape)
        layer.layer.built = True
        for weight in layer.layer.weights:
            fitting = [
                pair
                for pair in values
                if leaf(pair[0]) == leaf(weight.name) and pair[1].shape == tuple(weight.shape)
            ]
            if fitting:
                values.remove(fitting[0])
                weight.assign(fitting[0][1])
        build(input_shape)

    layer.build = build_primed
    return layer


def leaf(weight_name: str) -> str:
    """The last part of a weight's name: `kernel` of `conv/kernel:0`."""
    return weight_name.split(":")[0].rpartition("/")[2]


def copy_state(source: Any, copy: Any) -> None:
    """Gives a built copy the source's trainable flags, weights and statistics.

    Args:
        source: The layer that was copied.
        copy: The result of `copy_layer`, built.

    Raises:
        ModelError: The two do not hold the same weights.
    """
    # The flags first: they decide the order of `weights`.
    pairs = list(zip(source._flatten_layers(), copy._flatten_layers(), strict=True))
    for old, new in pairs:
        new._trainable = old._trainable
    _check_same_weights(source, copy)
    # Not get_weights: some wrappers hand out only part of theirs.
    values = tf_keras.backend.batch_get_value(source.weights)
    tf_keras.backend.batch_set_value(list(zip(copy.weights, values, strict=True)))
    for old, new in pairs:
        for name in UNSAVED:
            if getattr(old, name, None):
                setattr(new, name, dict(getattr(old, name)))
        if isinstance(new, tf_keras.layers.Normalization) and new.input_mean is None:
            new.finalize_state()  # the statistics in use are derived from the weights
        if hasattr(old, "lookup_table"):
            store: dict[str, Any] = {}
            old.save_own_variables(store)
            new.load_own_variables(store)


def _check_same_weights(source: Any, copy: Any) -> None:
    old, new = ([tuple(weight.shape) for weight in layer.weights] for layer in (source, copy))
    if old != new:
        raise ModelError(
            received=f"the layer {source.name!r} of class {type(source).__name__} with weights "
            f"shaped {old}",
            expected=f"those of the same layer rebuilt from its configuration, {new}",
            fix="create all weights in build(), from what get_config() returns",
        )


def first_line(error: Exception) -> str:
    r"""Returns the first paragraph of an error's cause on one line, or its class when it has none.

    Keras writes in front of the cause which layer was called when it came up, each layer around it
    again: the innermost stays, before a colon.

    Args:
        error: Anything raised.

    Example:
        >>> inner = "Exception encountered when calling layer 'dense' (type Dense).\n\nToo wide."
        >>> first_line(ValueError(f"Exception encountered when calling Net.call().\n\n{inner}"))
        "layer 'dense' (type Dense): Too wide."
    """
    lines = (line.strip() for line in _MARKS.sub("", str(error)).splitlines())
    text = "\n".join(lines).rpartition("Exception encountered: ")[2].strip()
    where = ""
    while around := _AROUND.match(text):
        where = f"{around[1]}: " if around[1] else where
        text = text[around.end() :].strip()
    paragraph = text.partition("\n\n")[0].partition(" Full object config")[0]
    return textwrap.shorten(where + (paragraph or type(error).__name__), 400)
