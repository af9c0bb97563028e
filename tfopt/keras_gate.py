"""The one place that chooses a Keras: any model becomes a tf_keras one, read, copied and written.

TF-MOT works on tf_keras alone, and changes which Keras the user's own `tf.keras` is. Every other
module takes both from here: `from tfopt.keras_gate import tf_keras, tfmot`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tf_keras

from tfopt.errors import ModelError
from tfopt.keras2 import files as model_files
from tfopt.keras2 import flatten, stack
from tfopt.keras2.rules import Rule, Rules

if TYPE_CHECKING:
    import keras
    import tensorflow_model_optimization as tfmot

__all__ = ["clone", "load_model", "save_model", "tf_keras", "tfmot"]

# tf_keras walks a graph by a call inside a call for each layer in a row, of which Python allows
# 1,000. Its own ResNetRS270 raises that to 1,300 for the process; fake quantization doubles a row.
_LAYERS_IN_A_ROW = 4000
sys.setrecursionlimit(max(sys.getrecursionlimit(), _LAYERS_IN_A_ROW))


def __getattr__(name: str) -> Any:
    """Imports TF-MOT when it is first asked for."""
    if name == "tfmot":
        globals()[name] = stack.tfmot()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_model(
    model: str | os.PathLike[str] | keras.Model | tf_keras.Model,
    *,
    rules: Mapping[type | str, Rule] | None = None,
) -> tf_keras.Model:
    """Returns any Keras model as a tf_keras functional one, which is what tfopt works on.

    The result is new: the model given, its weights, optimizer and compile state are left as they
    were. Nested models are dissolved into their layers (`conv` of `backbone` becomes
    `backbone_conv`), shared layers stay shared, frozen ones frozen. Several inputs or outputs are
    flat, those of a dict named by its keys. A Keras 3 model is rebuilt layer by layer, and both are
    shown to give the same outputs on random inputs.

    Args:
        model: A `.keras` or `.h5` file that Keras 3 or tf_keras wrote, a SavedModel directory that
            tf_keras wrote, a Keras 3 model or a tf_keras model; Sequential, functional, or
            subclassed if its `call` can be traced into layers.
        rules: What stands for layers of your own, which techniques would leave alone: by class,
            class name or layer name, a function `rule(layer, *inputs, **arguments)` that calls
            tf_keras layers on the symbolic inputs, hands the weights over and returns the result.
            It is shown to compute what the layer does, on random inputs.

    Returns:
        A built, uncompiled model that computes in 32-bit floating point.

    Raises:
        ModelError: There is no such file, it holds no model that can be read, the model cannot be
            traced, a layer cannot be translated, a rule computes something else, a layer carries
            its states on from call to call, or an output has no axis of samples.
        SettingError: There is a rule for a layer that the model does not have.

    Example:
        >>> import keras
        >>> inner = keras.Sequential([keras.layers.Dense(4, name="dense")], name="inner")
        >>> model = load_model(keras.Sequential([keras.Input((2,), name="x"), inner]))
        >>> [layer.name for layer in model.layers]
        ['x', 'inner_dense']
    """
    given: Any = model
    ruled = Rules(rules)
    if isinstance(given, str | os.PathLike):
        with _known(ruled.classes):
            given = model_files.read(Path(given))
    if isinstance(given, tf_keras.Model):
        check_stateless(given, tf_keras.layers.RNN)
        flat = flatten.flatten(given, ruled)
    else:
        flat = _from_keras3(given, ruled)
    ruled.check_used()
    _check_outputs(flat)
    return flat


@contextlib.contextmanager
def _known(classes: dict[str, type]) -> Iterator[None]:
    """Lets both Keras find the user's classes by name when they read a file."""
    if not classes:
        yield
        return
    import keras

    with tf_keras.utils.custom_object_scope(classes), keras.saving.custom_object_scope(classes):
        yield


def _from_keras3(model: Any, rules: Rules) -> tf_keras.Model:
    import keras

    from tfopt.keras3 import proof, translation

    if not isinstance(model, keras.Model):
        raise ModelError(
            received=f"an object of type {type(model).__module__}.{type(model).__qualname__}",
            expected="a path, a Keras 3 model or a tf_keras model",
            fix="pass the model itself, or the path of the file it was saved to",
        )
    check_stateless(model, keras.layers.RNN)
    translated = translation.translate_model(model, rules)
    proof.prove(model, translated)
    return translated.model


def check_stateless(model: Any, recurrent: Any = tf_keras.layers.RNN) -> None:
    """Refuses recurrent layers that carry their states on from one call to the next.

    What such a model says of a sample depends on those before it: it could not be trained on
    batches in any order, calibrated, measured or proven.

    Args:
        model: A Keras 3 or tf_keras model.
        recurrent: The class of its Keras that recurrent layers are of.

    Raises:
        ModelError: There is such a layer.

    Example:
        >>> layer = tf_keras.layers.GRU(2, stateful=True, name="gru")
        >>> try:
        ...     check_stateless(tf_keras.Sequential([tf_keras.Input((3, 1), batch_size=1), layer]))
        ... except ModelError as error:
        ...     print(error.received)
        the layer 'gru' of class GRU with stateful=True
    """
    for layer in model._flatten_layers():
        if isinstance(layer, recurrent) and layer.stateful:
            raise ModelError(
                received=f"the layer {layer.name!r} of class {type(layer).__name__} with "
                "stateful=True",
                expected="a model whose outputs depend on the sample alone, not on calls before",
                fix="build it with stateful=False, where each sample starts with new states, and "
                "hand the weights over with set_weights; for a device that carries states on, make "
                "them inputs (initial_state=) and outputs (return_state=True) of the model",
            )


def _check_outputs(model: tf_keras.Model) -> None:
    """Refuses outputs that are one number for all samples, which no sample can be measured by.

    Raises:
        ModelError: There is such an output.
    """
    for name, tensor in zip(model.output_names, model.outputs, strict=True):
        if tensor.shape.rank == 0:
            raise ModelError(
                received=f"the output {name!r}, a single number for all samples of a batch",
                expected="outputs with an axis of samples in front",
                fix="give the op that makes it an axis, such as axis=-1: without one it mixes all "
                "samples, which lie along axis 0",
            )


def clone(model: tf_keras.Model) -> tf_keras.Model:
    """Returns a copy that shares nothing with the model: TF-MOT changes what it is given.

    Args:
        model: A functional or Sequential tf_keras model, wrapped by TF-MOT or not.

    Returns:
        A functional model with the same structure, layer names, weights, statistics and trainable
        flags, built and uncompiled.

    Raises:
        ModelError: The model is subclassed, or a layer cannot be rebuilt from its configuration.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(2,))])
        >>> copy = clone(model)
        >>> bool((copy.get_weights()[0] == model.get_weights()[0]).all())
        True
    """
    check_loaded(model)
    return flatten.copy(model)


def check_loaded(model: Any) -> None:
    """Refuses what `load_model` has not made.

    Raises:
        ModelError: The model is none of tf_keras.
    """
    if not isinstance(model, tf_keras.Model):
        raise ModelError(
            received=f"a model of class {type(model).__module__}.{type(model).__qualname__}",
            expected="a model of tf_keras, as tfopt.load_model makes it of any Keras model",
            fix="pass tfopt.load_model(model)",
        )


def save_model(model: tf_keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model, wrapped by TF-MOT or not, so that `load_model` brings it back.

    A file is written whole or not at all. One of a model without wrappers can be read by tf_keras
    too. A SavedModel is served by its signature, of the names of inputs and outputs.

    Args:
        model: A functional tf_keras model. Optimizer and compile state are not written.
        path: Where: `.keras` or `.h5` for a file, no suffix for a SavedModel directory.

    Warns:
        UnregisteredLayerWarning: `load_model` will have to be told the class of a layer.

    Raises:
        ModelError: The suffix is another one, or the model cannot be stored.
        OutputExistsError: The SavedModel's directory is there already.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "model.keras"
        >>> save_model(tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(2,))]), path)
        >>> load_model(path).output_shape
        (None, 1)
    """
    model_files.write(clone(model), Path(path))
