"""Reads and writes models wrapped by TF-MOT, which tf_keras' own formats do not bring back.

tf_keras builds a wrapper from its configuration and fills in the weights afterwards. TF-MOT's
wrappers look at the weights while they are built, so here the weights come first. The file is an
HDF5 one as tf_keras writes it, which names every weight.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib import parse

import h5py
import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src.engine.functional import reconstruct_from_config
from tf_keras.src.saving.legacy.hdf5_format import load_attributes_from_hdf5_group

from tfopt.errors import ModelError
from tfopt.keras2.archive import unpacked_at_once
from tfopt.keras2.copying import UNSAVED, primed
from tfopt.keras2.stack import every_scope, tfmot

_UNSAVED, _OUTPUTS = "tfopt_unsaved", "tfopt_output_names"
_BUILD = "build_config"
# As they are registered: TF-MOT's under their own names, tfopt's in its package.
_WRAPPERS = frozenset(
    {
        *("ClusterWeights", "ClusterWeightsMHA", "ClusterWeightsRNN", "PruneLowMagnitude"),
        *("QuantizeLayer", "QuantizeWrapper", "QuantizeWrapperV2"),
        *("tfopt>KernelWrapper", "tfopt>MaskedWrapper", "tfopt>QuantizeLayer"),
    }
)
_TFMOT = "tensorflow_model_optimization."


def is_wrapped(config: str) -> bool:
    """Whether a model's configuration, as JSON, has TF-MOT's wrappers in it, or tfopt's."""
    return _has_wrapper(json.loads(config))


def _has_wrapper(config: Any) -> bool:
    if isinstance(config, list):
        return any(map(_has_wrapper, config))
    if not isinstance(config, dict):
        return False
    name = config.get("registered_name") or config.get("class_name")
    home = config.get("module") or _TFMOT  # an .h5 file does not say where a class is from
    known = isinstance(name, str) and name in _WRAPPERS
    return (known and home.startswith((_TFMOT, "tfopt."))) or any(
        map(_has_wrapper, config.values())
    )


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
        file.attrs[_OUTPUTS] = json.dumps(list(model.output_names))
        for layer, name, weight, tensor in _unsaved(model):
            key = "|".join((layer, name, weight))
            file[f"{_UNSAVED}/{parse.quote(key, safe='|')}"] = tensor.numpy()
    if is_wrapped(model.to_json()):
        with h5py.File(stream, "r") as file, every_scope(model):
            read(file)  # what cannot be brought back is said now
    return stream.getvalue()


def read(file: h5py.File) -> Any:
    """Returns the model in an HDF5 file, its wrappers built around their weights.

    Args:
        file: A file that `write`, or tf_keras, wrote.
    """
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
        _check_shapes(layers[name], variables, arrays, len(arrays))
        tf_keras.backend.batch_set_value(list(zip(variables, arrays, strict=True)))
    if not is_own(file):
        recovered(model)
    for key, value in file.get(_UNSAVED, {}).items():
        layer, name, weight = parse.unquote(key).split("|")
        getattr(layers[layer], name)[weight] = tf.constant(value[()])
    return with_output_names(model, output_names(file))


def is_own(file: h5py.File) -> bool:
    """Whether `write` wrote an HDF5 file, not tf_keras."""
    return _OUTPUTS in file.attrs


def output_names(file: h5py.File) -> list[str]:
    """The names of the outputs that `write` noted down; none in a file of another's."""
    return list(json.loads(file.attrs.get(_OUTPUTS, "[]")))


def with_output_names(model: Any, names: list[str]) -> Any:
    """The model, its outputs named as they were when it was stored."""
    if names:
        model.output_names = names
    return model


def read_keras(path: Path) -> Any:
    """Returns the wrapped model in a `.keras` file that `model.save` wrote.

    tf_keras builds each layer twice when it loads such a file, once before the call that builds it
    again, and then finds more variables than the file holds: here they are built once. And a
    wrapper around a layer that was built before it stored the layer's weights in front of its own.

    Args:
        path: The file.
    """
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        once = Path(folder) / "model.keras"
        with zipfile.ZipFile(once, "w") as copy:
            for name in archive.namelist():
                content = archive.read(name)
                if name == "config.json":
                    content = json.dumps(_without_build(json.loads(content))).encode()
                copy.writestr(name, content)
        wrapper = tfmot().quantization.keras.QuantizeWrapper
        loading = mock.patch.object(wrapper, "load_own_variables", _load_last)
        with every_scope(), loading, unpacked_at_once():
            return recovered(tf_keras.models.load_model(once, compile=False))


def recovered(model: Any) -> Any:
    """Returns a model that tf_keras restored, with what clustering keeps in plain tensors.

    Where the zeros are is not stored, and was noted down around the random weights the wrapper was
    built with: they are the weights of the centroid that is zero.
    """
    for layer in model._flatten_layers():
        if type(layer).__name__ == "ClusterWeights" and layer.preserve_sparsity:
            for name, indices in layer.pulling_indices.items():
                zero = tf.argmin(tf.abs(layer.cluster_centroids[name]), axis=-1)
                layer.zero_idx[name] = zero
                layer.sparsity_masks[name] = tf.cast(indices != zero, tf.float32)
    return model


def _without_build(config: Any) -> Any:
    """A configuration without what tf_keras would build the layers for in advance."""
    if isinstance(config, dict):
        return {key: _without_build(value) for key, value in config.items() if key != _BUILD}
    return [_without_build(item) for item in config] if isinstance(config, list) else config


def _load_last(wrapper: Any, stored: Any) -> None:
    """Fills a wrapper's own variables with the last of those stored."""
    variables = wrapper._trainable_weights + wrapper._non_trainable_weights
    arrays = [np.asarray(stored[str(index)]) for index in range(len(stored))]
    own = arrays[max(0, len(arrays) - len(variables)) :]
    _check_shapes(wrapper, variables, own, len(arrays))
    tf_keras.backend.batch_set_value(list(zip(variables, own, strict=True)))
    wrapper.layer.load_own_variables = lambda stored: _load_first(wrapper.layer, stored)


def _load_first(layer: Any, stored: Any) -> None:
    """Fills the layer in a wrapper: behind its own, it may have stored those the wrapper has."""
    del layer.load_own_variables
    count = len(layer._trainable_weights + layer._non_trainable_weights)
    layer.load_own_variables({str(i): stored[str(i)] for i in range(min(count, len(stored)))})


def _check_shapes(layer: Any, variables: list[Any], arrays: list[np.ndarray], count: int) -> None:
    if [tuple(v.shape) for v in variables] != [array.shape for array in arrays]:
        raise ModelError(
            received=f"the layer {layer.name!r} of class {type(layer).__name__} with "
            f"{count} weights",
            expected=f"{len(variables)}, which its configuration makes",
            fix="strip the wrappers before saving: TF-MOT leaves the quantizers that preserve "
            "clusters out of the configuration",
        )


def _unsaved(model: Any) -> Iterator[tuple[str, str, str, Any]]:
    """What the layers hold outside of their weights: layer, attribute, weight and tensor."""
    for layer in model.layers:
        for name in UNSAVED:
            for weight, tensor in (getattr(layer, name, None) or {}).items():
                yield layer.name, name, weight, tensor


def _layer(config: dict[str, Any]) -> Any:
    """A layer, not built: its weights have to be there first."""
    config = {key: value for key, value in config.items() if key != _BUILD}
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
