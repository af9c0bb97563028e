"""Random inputs that a Keras 3 model and its translation take."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tf_keras

from tfopt.errors import ModelError
from tfopt.keras2.copying import first_line
from tfopt.keras3.running import repeated, run_keras3, run_tf_keras
from tfopt.keras3.translation import Translation

# Tried in turn for a size that the model leaves open: the first that is large enough for it.
_OPEN_SIZES = (16, 64, 256, 4096)
# Tried in turn: how many integers there are, from 0.
_TOPS = (10, 5, 2, 1)
# Numbers far out: a layer that takes numbers for indices has no row for one of them.
_FAR = np.array([-4.0, 4.0])


@dataclasses.dataclass(frozen=True)
class Samples:
    """Draws inputs of a model.

    Args:
        tensors: The symbolic inputs of the tf_keras model.
        size: How long they are where the model leaves it open.
        integers: What integers are drawn from.
        whole: Whether inputs in floating point hold such integers too, as those of indices do.
    """

    tensors: list[Any]
    size: int
    integers: np.ndarray
    whole: bool = False

    def arrays(self, random: np.random.Generator) -> list[np.ndarray]:
        """Returns an array for each input; what may be out of a range is always in them."""
        arrays = []
        for tensor in self.tensors:
            batch, *rest = tensor.shape
            shape = [batch or 2, *(length or self.size for length in rest)]
            if tensor.dtype.is_floating and not self.whole:
                array = random.standard_normal(shape)
                array.flat[:2] = _FAR[: array.size]
            else:
                array = random.choice(self.integers, shape)
                array.flat[:1] = self.integers.max()
            arrays.append(array.astype(tensor.dtype.as_numpy_dtype))
        return arrays


def suited(model: Any, translation: Translation) -> Samples:
    """Finds inputs that both models can be called on.

    Args:
        model: The Keras 3 model.
        translation: Its translation.

    Raises:
        ModelError: There are none; it names the layer that fails.
    """
    size = _open_size(model, translation)
    for whole, integers in itertools.product((False, True), _integers(translation)):
        samples = Samples(translation.model.inputs, size, integers, whole)
        inputs = samples.arrays(np.random.default_rng(0))
        try:
            run_keras3(model, translation, inputs)
            run_tf_keras(translation.model, inputs)
        except Exception as error:  # whatever a layer says to inputs that do not suit it
            failure = error
        else:
            return samples
    name, cause = _failing(translation, inputs) or (f"the model {model.name!r}", failure)
    raise ModelError(
        received=f"{name}, which fails on random inputs: {first_line(cause)}",
        expected="a model that takes any numbers, or small integers from 0: on such inputs it is "
        "compared with its translation",
        fix="let the layer take them (num_oov_indices=1, more tokens, a batch of any size), or cut "
        "the model behind it and give it (and the device) what the layer makes",
    ) from cause


def _open_size(model: Any, translation: Translation) -> int:
    inputs = translation.model.inputs
    if all(None not in tensor.shape[1:] for tensor in inputs):
        return _OPEN_SIZES[0]
    for size in _OPEN_SIZES[:-1]:
        arrays = Samples(inputs, size, np.arange(1)).arrays(np.random.default_rng(0))
        symbols = [keras.KerasTensor(array.shape, str(array.dtype)) for array in arrays]
        try:
            # Shapes alone: a kernel larger than its input computes garbage without a word.
            model.compute_output_spec(*keras.tree.pack_sequence_as(translation.args, symbols))
        except Exception:  # whatever a layer says to an input that is too small
            continue
        return size
    return _OPEN_SIZES[-1]


def _integers(translation: Translation) -> Iterator[np.ndarray]:
    """What to draw integers from: those from 0 that embeddings have rows for, then vocabularies."""
    layers = [step.call for step in translation.steps]
    rows = [layer.input_dim for layer in layers if isinstance(layer, keras.layers.Embedding)]
    yield from map(np.arange, dict.fromkeys(min([*rows, top]) for top in _TOPS))
    for layer in layers:
        if isinstance(layer, keras.layers.IntegerLookup):
            yield np.asarray(layer.get_vocabulary(include_special_tokens=False))


def _failing(translation: Translation, inputs: list[np.ndarray]) -> tuple[str, Exception] | None:
    """The first step that fails, in words, and what it says; None if each works by itself."""
    model = translation.model
    tensors = map(keras.ops.convert_to_tensor, inputs)
    values = dict(zip(map(id, model.inputs), tensors, strict=True))
    for step in translation.steps:
        try:
            found = run_tf_keras(tf_keras.Model(model.inputs, step.outputs), inputs)
            repeated(step, values)
        except Exception as error:  # whatever a layer says to inputs that do not suit it
            return f"the layer {step.name!r} of class {type(step.call).__name__}", error
        values.update(
            zip(map(id, step.outputs), map(keras.ops.convert_to_tensor, found), strict=True)
        )
    return None
