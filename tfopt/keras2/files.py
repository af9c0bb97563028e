"""Reads and writes model files, and says what is wrong with one that cannot be read."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import tensorflow as tf
import tf_keras

from tfopt.errors import ModelError
from tfopt.files import write_directory, write_file
from tfopt.keras2 import wrapped
from tfopt.keras2.archive import unpacked_at_once
from tfopt.keras2.copying import first_line
from tfopt.keras2.stack import every_scope, quiet

# Inside the .keras file, or the SavedModel directory, of a model that tf_keras could not restore.
BUNDLE = "tfopt_model.h5"
# Inside the .keras file of any other model: what tf_keras does not store.
_NOTES = "tfopt.json"
_EXPECTED = "a .keras or .h5 file, or the directory of a SavedModel that tf_keras wrote"


class UnregisteredLayerWarning(UserWarning):
    """A file can only be read again where the classes of its layers are made known first."""


def read(path: Path) -> Any:
    """Returns the Keras model in a file: a Keras 3 or tf_keras model, as it was written.

    Args:
        path: A `.keras` or `.h5` file, or a SavedModel directory.

    Raises:
        ModelError: There is no such file, or no model that can be read in it.
    """
    if not path.exists():
        raise ModelError(
            received=f"the path {str(path)!r}, where there is nothing",
            expected=_EXPECTED,
            fix=f"check the path; the working directory is {str(Path.cwd())!r}",
        )
    if path.is_dir():
        return _saved_model(path)
    if path.name.endswith(".weights.h5"):
        raise _weights_only(path)
    readers = {".keras": _keras, ".h5": _h5, ".hdf5": _h5}
    if path.suffix not in readers:
        fix = "save the Keras model with model.save('model.keras')"
        if path.suffix == ".tflite":
            fix = "give the Keras model it was converted from: a .tflite cannot be trained"
        raise ModelError(received=f"the file {str(path)!r}", expected=_EXPECTED, fix=fix)
    return readers[path.suffix](path)


def write(model: Any, path: Path) -> None:
    """Writes a tf_keras model so that `read` brings it back.

    Args:
        model: A functional tf_keras model, wrapped or not.
        path: A `.keras` or `.h5` file; a SavedModel directory if it has no suffix.

    Warns:
        UnregisteredLayerWarning: `read` will have to be told the class of a layer.

    Raises:
        ModelError: The suffix is another one, or the model cannot be stored.
        OutputExistsError: The SavedModel's directory is there already.
    """
    writers = {".keras": _write_keras, ".h5": _write_h5, "": _write_saved_model}
    if path.suffix not in writers:
        raise ModelError(
            received=f"the path {str(path)!r}",
            expected="a path that ends in .keras or .h5, or has no suffix (SavedModel)",
            fix=f"use {str(path.with_suffix('.keras'))!r}",
        )
    try:
        with quiet():
            writers[path.suffix](model, path)
    except (OSError, ModelError):
        raise
    except Exception as error:
        raise ModelError(
            received=f"the model {model.name!r}, which cannot be stored: {first_line(error)}",
            expected="layers whose get_config returns JSON values",
            fix="write get_config of the layer it names, or replace a Lambda by a layer",
        ) from error
    _warn_of_unregistered(model, path)


def _warn_of_unregistered(model: Any, path: Path) -> None:
    """Says which classes of layers tf_keras will not find by what a file says of them."""
    layers = {
        type(layer).__name__: layer.name
        for layer in model._flatten_layers()
        if not type(layer).__module__.startswith(("tf_keras.", "tensorflow_model_optimization."))
        and tf_keras.utils.get_registered_name(type(layer)) == type(layer).__name__
    }
    if layers:
        names = ", ".join(f"{cls} (layer {name!r})" for cls, name in layers.items())
        scope = ", ".join(f"{cls!r}: {cls}" for cls in layers)
        warnings.warn(
            f"{str(path)!r} has layers of classes that are not registered: {names}. To read it, "
            "decorate the class with @tf_keras.utils.register_keras_serializable() and import it "
            f"first, or load inside of tf_keras.utils.custom_object_scope({{{scope}}}).",
            UnregisteredLayerWarning,
            stacklevel=4,
        )


def _write_keras(model: Any, path: Path) -> None:
    if not wrapped.is_wrapped(model.to_json()):
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "model.keras"
            model.save(whole, save_format="keras")
            with zipfile.ZipFile(whole, "a") as archive:
                archive.writestr(_NOTES, json.dumps({"output_names": list(model.output_names)}))
            write_file(path, whole.read_bytes())
        return
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": tf_keras.__version__}))
        archive.writestr(BUNDLE, wrapped.write(model))
    write_file(path, stream.getvalue())


def _write_h5(model: Any, path: Path) -> None:
    write_file(path, wrapped.write(model))


def _write_saved_model(model: Any, path: Path) -> None:
    options: dict[str, Any] = {}
    if wrapped.is_wrapped(model.to_json()):
        # a server calls the signature, and `read` takes the bundle: neither a layer's function
        options = {"save_traces": False, "signatures": _signature(model)}
    with write_directory(path) as folder:
        model.save(folder, save_format="tf", include_optimizer=False, **options)
        bundle = folder / "assets.extra" / BUNDLE
        bundle.parent.mkdir()
        bundle.write_bytes(wrapped.write(model))


def _signature(model: Any) -> Any:
    """What a SavedModel is served by: a function of the inputs' names that gives the outputs'."""
    specs = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    ]

    @tf.function(input_signature=specs)
    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        return dict(zip(model.output_names, tf.nest.flatten(outputs), strict=True))

    return serve.get_concrete_function()


def _keras(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            version = json.loads(archive.read("metadata.json"))["keras_version"]
            bundle = io.BytesIO(archive.read(BUNDLE)) if BUNDLE in names else None
            config = archive.read("config.json").decode() if bundle is None else "{}"
            is_wrapped = wrapped.is_wrapped(config)
            notes = json.loads(archive.read(_NOTES)) if _NOTES in names else {}
            if bundle is None and not any(name.startswith("model.weights") for name in names):
                raise OSError("it holds no weights")
    except Exception as error:
        raise _corrupt(path, "a .keras file (a zip archive with metadata.json)", error) from error
    if bundle is not None:
        return _own_h5(path, bundle)
    if version.startswith("3."):
        return _with_keras3(path)
    model = (_wrapped_keras if is_wrapped else _with_tf_keras)(path)
    return wrapped.with_output_names(model, notes.get("output_names", []))


def _h5(path: Path) -> Any:
    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise _weights_only(path)
            version = _text(file.attrs.get("keras_version", "2"))
            own = wrapped.is_own(file) or wrapped.is_wrapped(_text(file.attrs["model_config"]))
    except ModelError:
        raise
    except Exception as error:
        raise _corrupt(path, "an HDF5 file that Keras wrote", error) from error
    if own:
        return _own_h5(path)
    return _with_keras3(path) if version.startswith("3") else _with_tf_keras(path)


def _saved_model(path: Path) -> Any:
    bundle = path / "assets.extra" / BUNDLE
    if bundle.exists():
        return _own_h5(bundle)
    if not (path / "saved_model.pb").exists():
        found = ", ".join(sorted(child.name for child in path.iterdir())[:5]) or "nothing"
        raise ModelError(
            received=f"the directory {str(path)!r}, which holds {found}",
            expected=f"{_EXPECTED} (it holds saved_model.pb)",
            fix="give the path of the model itself",
        )
    if not (path / "keras_metadata.pb").exists():
        raise ModelError(
            received=f"the SavedModel {str(path)!r}, which holds no Keras layers",
            expected="layers: they are what is optimized",
            fix="save the Keras model itself with model.save('model.keras'); model.export and "
            "tf.saved_model.save keep only the computation",
        )
    return _with_tf_keras(path)


def _own_h5(path: Path, content: io.BytesIO | None = None) -> Any:
    try:
        with h5py.File(content or path, "r") as file, quiet():
            return wrapped.read(file)
    except ModelError:
        raise
    except OSError as error:
        raise _corrupt(path, "what tfopt.save_model wrote", error) from error
    except Exception as error:
        fix = _fix(path, error, "tf_keras.models")
        raise _unreadable(path, f"tf_keras {tf_keras.__version__}", fix, error) from error


_CUSTOM = (
    "a layer of your own must be registered before loading (register_keras_serializable); or load "
    "inside of custom_object_scope({'Name': Name}), or yourself, and pass the object"
)


def _with_tf_keras(path: Path) -> Any:
    try:
        with every_scope(), quiet(), unpacked_at_once():
            return wrapped.recovered(tf_keras.models.load_model(path, compile=False))
    except Exception as error:
        fix = _fix(path, error, "tf_keras.models")
        raise _unreadable(path, f"tf_keras {tf_keras.__version__}", fix, error) from error


def _wrapped_keras(path: Path) -> Any:
    try:
        with quiet():
            return wrapped.read_keras(path)
    except ModelError:
        raise
    except Exception as error:
        fix = "write it with tfopt.save_model, or as .h5"
        raise _unreadable(path, f"tf_keras {tf_keras.__version__}", fix, error) from error


def _with_keras3(path: Path) -> Any:
    import keras

    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        fix = _fix(path, error, "keras.saving")
        raise _unreadable(path, f"Keras {keras.__version__}", fix, error) from error


def _fix(path: Path, error: Exception, home: str) -> str:
    """The way out of what a Keras says to a file."""
    if "safe_mode" in str(error):
        return (
            "it holds a Python lambda; if you trust it, pass the object that "
            f"{home}.load_model(path, safe_mode=False) returns"
        )
    if home == "keras.saving" and path.suffix != ".keras":
        return f"save the model as .keras, since Keras 3 stores less in an .h5 file; or {_CUSTOM}"
    return _CUSTOM


def _unreadable(path: Path, by: str, fix: str, error: Exception) -> ModelError:
    return ModelError(
        received=f"the model {str(path)!r}, which {by} cannot read: {first_line(error)}",
        expected="a model whose every layer is known",
        fix=fix,
    )


def _corrupt(path: Path, expected: str, error: Exception) -> ModelError:
    return ModelError(
        received=f"the file {str(path)!r}, which is damaged or something else: "
        f"{first_line(error)} ({path.stat().st_size:,} bytes)",
        expected=expected,
        fix="save the model again, or copy the file again if it was cut off",
    )


def _weights_only(path: Path) -> ModelError:
    return ModelError(
        received=f"the file {str(path)!r}, which holds weights without a model",
        expected=_EXPECTED,
        fix="build the model, call its load_weights(path), and pass the model",
    )


def _text(value: Any) -> str:
    """An HDF5 attribute, which may be bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
