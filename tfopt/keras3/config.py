"""Carries the configuration of a Keras 3 object over to the tf_keras class of the same name."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import Any

import tf_keras

from tfopt.keras2.flatten import LossWarning
from tfopt.keras3.activations import counterpart

# Settings that change how a layer is computed, never what it computes in inference.
_WITHOUT_MEANING = {
    "autocast", "bounding_box_format", "dtype", "flash_attention", "lora_alpha", "lora_rank",
    "name", "quantization_config", "seed", "trainable", "use_cudnn", "zero_output_for_mask",
}  # fmt: skip
_HOMES = {
    "initializer": tf_keras.initializers,
    "regularizer": tf_keras.regularizers,
    "constraint": tf_keras.constraints,
}


class NoCounterpartError(Exception):
    """A layer, or one of its settings, that tf_keras has nothing like."""


def arguments(layer: Any, cls: type, name: str, /, **replaced: Any) -> dict[str, Any]:
    """Returns the arguments that make `cls` compute what `layer` does.

    Args:
        layer: A Keras 3 layer.
        cls: The tf_keras class.
        name: The new layer's name.
        **replaced: Arguments that differ from the layer's configuration, or are missing in it.

    Raises:
        NoCounterpartError: A setting that matters is not known to `cls`.
    """
    config = layer.get_config()
    known = parameters(cls)
    defaults = parameters(type(layer))
    carried: dict[str, Any] = {}
    for key, value in config.items():
        if key in replaced or key in _WITHOUT_MEANING:
            continue
        if key == "data_format":  # the translation puts the channels last
            carried |= {key: "channels_last"} if key in known else {}
        elif key in known:
            carried[key] = _translated(key, value)
            if carried[key] is None and value is not None and not key.endswith("initializer"):
                _tell_left_out(layer, key, value)
        elif value != defaults.get(key, value):
            raise NoCounterpartError(f"tf_keras' {cls.__name__} has no {key} (set to {value!r})")
    return {**carried, **replaced, "name": name, "dtype": _dtype(layer)}


def parameters(cls: type) -> dict[str, Any]:
    """The arguments a class takes, those it passes on to its parents too, with their defaults."""
    return _parameters(cls.__mro__)


@functools.cache
def _parameters(classes: tuple[Any, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in classes:
        if "__init__" in vars(base):
            for key, parameter in inspect.signature(base.__init__).parameters.items():
                found.setdefault(key, parameter.default)
    return found


def _dtype(layer: Any) -> str:
    """Floats of any size become 32 bits wide; a layer of whole numbers stays one."""
    dtype = str(layer.compute_dtype or "float32")
    return "float32" if "float" in dtype else dtype


def _translated(key: str, value: Any) -> Any:
    if key.endswith("activation"):
        return activation(value)
    kind = key.rpartition("_")[2]
    if kind in _HOMES and isinstance(value, dict):
        return _rebuilt(value, _HOMES[kind])
    return value


def activation(config: Any) -> Any:
    """Returns tf_keras' name, or a function of ours, for an activation in a configuration.

    Raises:
        NoCounterpartError: It is not one of Keras' own functions.
    """
    found = counterpart(config) if isinstance(config, str) else None
    if config is not None and found is None:
        raise NoCounterpartError(f"tf_keras has no activation {config!r}")
    return found


def _tell_left_out(layer: Any, key: str, value: dict[str, Any]) -> None:
    warnings.warn(
        f"{key} {value['class_name']} of layer {layer.name!r} is left out, since tf_keras has none "
        "of that name: fine-tuning goes without it.",
        LossWarning,
        stacklevel=2,
    )


def _rebuilt(config: dict[str, Any], home: Any) -> Any:
    """The tf_keras initializer, regularizer or constraint of the same name.

    None for one of the user's own: none of them has a part in what the model computes.
    """
    cls = getattr(home, config["class_name"], None)
    if not inspect.isclass(cls):
        return None
    known = parameters(cls)
    return cls(**{key: value for key, value in config["config"].items() if key in known})
