"""The tf_keras layer for a Keras 3 layer, class by class.

A layer whose class has the same name and the same settings in tf_keras needs nothing here. To add
one that has not, write a function `(layer, name) -> Translated` and put it in the table at the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tf_keras

from tfopt.errors import ModelError
from tfopt.keras3 import twins
from tfopt.keras3.channels import channels_first
from tfopt.keras3.config import NoCounterpartError, activation, arguments

# Augmentation that tf_keras lacks: in inference they all hand their input on.
_AUGMENTATIONS = frozenset(
    {
        "AugMix", "CutMix", "MixUp", "RandAugment", "RandomColorDegeneration", "RandomColorJitter",
        "RandomElasticTransform", "RandomErasing", "RandomGaussianBlur", "RandomGrayscale",
        "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomSaturation",
        "RandomSharpness", "RandomShear",
    }
)  # fmt: skip
_OWN_HOMES = ("keras.src.layers.", "keras.src.applications.")


@dataclasses.dataclass(frozen=True)
class Translated:
    """A tf_keras layer in the place of a Keras 3 one.

    Args:
        layer: The new layer, not built yet.
        weights: Pairs the layers whose weights correspond one by one: Keras 3's and tf_keras'.
        after: An activation that tf_keras cannot hold inside the layer: it comes behind it.
    """

    layer: Any
    weights: tuple[tuple[Any, Any], ...]
    after: Any = None


def translate(layer: Any, name: str) -> Translated:
    """Returns the tf_keras layer that computes what `layer` does.

    Args:
        layer: A built Keras 3 layer. It is left as it was.
        name: The new layer's name.

    Raises:
        NoCounterpartError: tf_keras has no such layer.
    """
    cls = keras_class(layer)
    rule = _RULES.get(cls.__name__, _same)
    return rule(layer, name)


def paired(old: Any, new: Any) -> list[tuple[Any, Any]]:
    """Returns each Keras 3 variable of a layer with the tf_keras weight that stands for it.

    Raises:
        ModelError: They hold different weights.
    """
    if not old.built:  # an activation that was never called
        return []
    shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in (old, new)]
    if shapes[0] != shapes[1]:
        raise ModelError(
            received=f"the layer {old.name!r} of class {type(old).__name__} with weights shaped "
            f"{shapes[0]}",
            expected=f"those of a plain one, {shapes[1]}",
            fix="merge adapters (LoRA) into the kernel, and give the model before quantization",
        )
    return list(zip(old.weights, new.weights, strict=True))


def known_activation(function: Any) -> Any:
    """Returns what tf_keras calls one of Keras 3's activation functions, None for others."""
    import keras

    try:
        return activation(keras.activations.serialize(function))
    except (NoCounterpartError, ValueError):
        return None


def keras_class(layer: Any) -> type:
    """The layer's class, or the one of Keras' own whose `call` it inherits.

    Raises:
        NoCounterpartError: The layer has a `call` of its own.
    """
    for cls in type(layer).__mro__:
        if "call" in vars(cls):
            break
    for base in type(layer).__mro__:
        if base.__module__.startswith(_OWN_HOMES) and issubclass(base, cls):
            return base
    raise NoCounterpartError(f"{type(layer).__name__} is not a layer of Keras itself")


def _same(layer: Any, name: str) -> Translated:
    """The class of the same name, the settings carried over."""
    cls = getattr(tf_keras.layers, keras_class(layer).__name__, None)
    if cls is None:
        raise NoCounterpartError(f"tf_keras has no {keras_class(layer).__name__}")
    after = None
    replaced: dict[str, Any] = {}
    if not hasattr(layer, "cell"):  # a recurrent layer needs its activation inside the loop
        after, replaced = _moved_out(layer)
    return _one_to_one(layer, cls(**arguments(layer, cls, name, **replaced)), after)


def _one_to_one(layer: Any, new: Any, after: Any = None) -> Translated:
    return Translated(new, ((layer, new),), after)


def _moved_out(layer: Any) -> tuple[Any, dict[str, Any]]:
    """An activation that tf_keras' techniques would not know moves behind its layer."""
    function = getattr(layer, "activation", None)
    if function is None or _native(layer.get_config().get("activation")):
        return None, {}
    return function, {"activation": "linear"}


def _native(config: Any) -> bool:
    try:
        return config is None or isinstance(activation(config), str)
    except NoCounterpartError:
        return False


def _activation(layer: Any, name: str) -> Translated:
    function = activation(layer.get_config()["activation"])
    new = tf_keras.layers.Activation(function, name=name)
    return _one_to_one(layer, new)


def _leaky_relu(layer: Any, name: str) -> Translated:
    return _one_to_one(layer, tf_keras.layers.LeakyReLU(alpha=layer.negative_slope, name=name))


def _augmentation(layer: Any, name: str) -> Translated:
    return Translated(tf_keras.layers.Activation("linear", name=name), ())


def _normalization(layer: Any, name: str) -> Translated:
    """The statistics become settings, which no copy can lose."""
    cls = tf_keras.layers.Normalization
    shape = [layer._build_input_shape[axis] for axis in layer._keep_axis]
    mean, variance = (
        np.broadcast_to(np.reshape(value, shape) if np.size(value) > 1 else np.ravel(value), shape)
        for value in map(_array, (layer.mean, layer.variance))
    )
    replaced = {
        "axis": tuple(layer.axis) or None,
        "mean": mean.tolist(),
        "variance": variance.tolist(),
    }
    return Translated(cls(**arguments(layer, cls, name, **replaced)), ())


def _recurrent(layer: Any, name: str) -> Translated:
    """A general `RNN`: its cell, or stack of cells, translated in turn."""
    cell = translate(layer.cell, layer.cell.name).layer
    cls = tf_keras.layers.RNN
    return _one_to_one(layer, cls(**arguments(layer, cls, name, cell=cell)))


def _stacked_cells(layer: Any, name: str) -> Translated:
    cells = [translate(cell, cell.name).layer for cell in layer.cells]
    return _one_to_one(layer, tf_keras.layers.StackedRNNCells(cells, name=name))


def _bidirectional(layer: Any, name: str) -> Translated:
    forward, backward = layer.forward_layer, layer.backward_layer
    cls = tf_keras.layers.Bidirectional
    inner = {"layer": _direction(forward, "forward_")}
    if not _mirrored(forward, backward):
        inner["backward_layer"] = _direction(backward, "backward_")
    new = cls(**{**arguments(layer, cls, name, layer=None, backward_layer=None), **inner})
    return Translated(new, ((forward, new.forward_layer), (backward, new.backward_layer)))


def _direction(layer: Any, prefix: str) -> Any:
    """One of the two layers; tf_keras puts the prefix in front itself."""
    return translate(layer, layer.name.removeprefix(prefix)).layer


def _mirrored(forward: Any, backward: Any) -> bool:
    """Whether the second layer is the first one backwards, as tf_keras makes it by itself."""
    own = {"name", "go_backwards", "seed", "dtype"}
    one, other = (
        {key: value for key, value in layer.get_config().items() if key not in own}
        for layer in (forward, backward)
    )
    return type(forward) is type(backward) and str(one) == str(other)


def _time_distributed(layer: Any, name: str) -> Translated:
    inner = translate(layer.layer, layer.layer.name)
    if inner.after is not None or channels_first(layer.layer):
        raise NoCounterpartError(f"{layer.layer.name!r} becomes more than one layer")
    cls = tf_keras.layers.TimeDistributed
    return Translated(cls(**arguments(layer, cls, name, layer=inner.layer)), inner.weights)


def _spectral_normalization(layer: Any, name: str) -> Translated:
    """The layer inside: in inference its kernel, normalized by training, is used as it is."""
    return translate(layer.layer, name)


def _array(value: Any) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(value))


def _layer_scale(layer: Any, name: str) -> Translated:
    return _one_to_one(layer, twins.LayerScale(layer.init_values, name=name))


def _stochastic_depth(layer: Any, name: str) -> Translated:
    return _one_to_one(layer, twins.StochasticDepth(layer.drop_path_rate, name=name))


def _scaled_add(layer: Any, name: str) -> Translated:
    return _one_to_one(layer, twins.ScaledAdd(layer.scale, name=name))


def _rms_normalization(layer: Any, name: str) -> Translated:
    new = twins.RMSNormalization(layer.axis, layer.epsilon, name=name)
    return _one_to_one(layer, new)


def _none(layer: Any, name: str) -> Translated:
    """What shares no more than its name with tf_keras' class: a Lambda's code, another crop."""
    raise NoCounterpartError(f"tf_keras' {keras_class(layer).__name__} is another thing")


_RULES: dict[str, Callable[[Any, str], Translated]] = {
    **dict.fromkeys(_AUGMENTATIONS, _augmentation),
    "Activation": _activation,
    "Bidirectional": _bidirectional,
    "CustomScaleLayer": _scaled_add,
    "Lambda": _none,
    "LayerScale": _layer_scale,
    "LeakyReLU": _leaky_relu,
    "Normalization": _normalization,
    "RandomCrop": _none,
    "RMSNormalization": _rms_normalization,
    "RNN": _recurrent,
    "SpectralNormalization": _spectral_normalization,
    "StackedRNNCells": _stacked_cells,
    "StochasticDepth": _stochastic_depth,
    "TimeDistributed": _time_distributed,
}
