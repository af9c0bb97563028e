"""Reads and writes models wrapped by TF-MOT, which tf_keras' own formats do not bring back.

tf_keras builds a wrapper from its configuration and fills in the weights afterwards. TF-MOT's
wrappers look at the weights while they are built, so here the weights come first. The file is an
HDF5 one as tf_keras writes it, which names every weight.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Iterator
from typing import Any
from urllib import parse

import h5py
import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src.engine.functional import reconstruct_from_config
from tf_keras.src.saving.legacy.hdf5_format import load_attributes_from_hdf5_group

from tfopt.errors import ModelError
from tfopt.keras2.copying import UNSAVED, primed
from tfopt.keras2.stack import every_scope

_MODULES, _UNSAVED = "tfopt_modules", "tfopt_unsaved"
_WRAPPERS = ("QuantizeWrapper", "QuantizeLayer", "PruneLowMagnitude", "ClusterWeights")


def is_wrapped(config: str) -> bool:
    """Whether a model's configuration, as JSON, has TF-MOT's wrappers in it."""
    return any(name in config for name in _WRAPPERS)


def write(model: Any) -> bytes:
    """Returns a model as an HDF5 file.

    Args:
        model: A functional tf_keras model, wrapped or not.

    Raises:
        ModelError: A wrapped model could not be read again.
    """
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        tf_keras.saving.save_model(model, file, save_format="h5", include_optimizer=False)
        file.attrs[_MODULES] = json.dumps(sorted(_modules(model)))
        for layer, name, weight, tensor in _unsaved(model):
            key = "|".join((layer, name, weight))
            file[f"{_UNSAVED}/{parse.quote(key, safe='|')}"] = tensor.numpy()
    if is_wrapped(model.to_json()):
        with h5py.File(stream, "r") as file:
            read(file)  # what cannot be brought back is said now
    return stream.getvalue()


def read(file: h5py.File) -> Any:
    """Returns the model in an HDF5 file, its wrappers built around their weights.

    Args:
        file: A file that `write`, or tf_keras, wrote.
    """
    for module in json.loads(file.attrs.get(_MODULES, "[]")):
        if module.startswith("tfopt."):  # a file must not choose what else is imported
            importlib.import_module(module)
    content = json.loads(file.attrs["model_config"])
    config, weights = content["config"], _weights(file["model_weights"])
    with every_scope():
        layers = {}
        for layer_config in config["layers"]:
            layer = _layer(layer_config)
            layers[layer.name] = primed(layer, weights.get(layer.name, []))
        if content["class_name"] == "Sequential":
            model = tf_keras.Sequential(list(layers.values()), name=config["name"])
        else:
            inputs, outputs, _ = reconstruct_from_config(config, created_layers=layers)
            model = tf_keras.Model(inputs, outputs, name=config["name"])
    for name, named in weights.items():
        variables = layers[name].trainable_weights + layers[name].non_trainable_weights
        arrays = [array for _, array in named]
        if [tuple(v.shape) for v in variables] != [array.shape for array in arrays]:
            raise ModelError(
                received=f"the layer {name!r} of class {type(layers[name]).__name__} with "
                f"{len(arrays)} weights",
                expected=f"{len(variables)}, which its configuration makes",
                fix="strip the wrappers before saving: TF-MOT leaves the quantizers that preserve "
                "clusters out of the configuration",
            )
        tf_keras.backend.batch_set_value(list(zip(variables, arrays, strict=True)))
    for key, value in file.get(_UNSAVED, {}).items():
        layer, name, weight = parse.unquote(key).split("|")
        getattr(layers[layer], name)[weight] = tf.constant(value[()])
    return model


def _unsaved(model: Any) -> Iterator[tuple[str, str, str, Any]]:
    """What the layers hold outside of their weights: layer, attribute, weight and tensor."""
    for layer in model.layers:
        for name in UNSAVED:
            for weight, tensor in (getattr(layer, name, None) or {}).items():
                yield layer.name, name, weight, tensor


def _layer(config: dict[str, Any]) -> Any:
    """A layer, not built: its weights have to be there first."""
    config = {key: value for key, value in config.items() if key != "build_config"}
    return tf_keras.layers.deserialize(config, use_legacy_format="module" not in config)


def _weights(group: h5py.Group) -> dict[str, list[tuple[str, np.ndarray]]]:
    """The names and values of each layer's weights, in tf_keras' order."""
    layers = load_attributes_from_hdf5_group(group, "layer_names")
    return {
        layer: [
            (name, np.asarray(group[layer][name]))
            for name in load_attributes_from_hdf5_group(group[layer], "weight_names")
        ]
        for layer in layers
    }


def _modules(model: Any) -> set[str]:
    """The modules of this package that define something the model is made of."""
    parts = [
        part
        for layer in model._flatten_layers()
        for part in (
            layer,
            getattr(layer, "quantize_config", None),
            getattr(layer, "quantizer", None),
        )
    ]
    found = {type(part).__module__ for part in parts}
    return {name for name in found if name.startswith("tfopt.")}
