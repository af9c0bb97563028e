"""A model with all that several cells need of it, each made once."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import tfopt
from coverage_parts.judging import WrongResult, outputs_of
from coverage_parts.rows import Row
from tfopt.data import columns
from tfopt.keras_gate import tf_keras
from tfopt.task import Task
from tfopt.technique import Technique
from tfopt.tflite.interpreter import TFLiteModel

_COMPARED = 16


class Subject:
    """A row's model.

    Args:
        row: The row.
    """

    def __init__(self, row: Row) -> None:
        self.row = row
        self.model = row.build()

    @functools.cached_property
    def loaded(self) -> tf_keras.Model:
        """What tfopt makes of the model."""
        return tfopt.load_model(self.model)

    @functools.cached_property
    def task(self) -> Task:
        """Random data for `loaded`; it fits the model itself too."""
        return self.row.task(self.loaded)

    @functools.cached_property
    def quantized(self) -> tf_keras.Model:
        """`loaded`, trained quantization-aware for some steps."""
        return self.apply(tfopt.QuantizationAware(epochs=1))

    def apply(self, technique: Technique) -> tf_keras.Model:
        """Applies a technique to `loaded`, which must stay as it was.

        Raises:
            WrongResult: It did not, or the result gives no finite numbers.
        """
        before = [weight.copy() for weight in self.loaded.get_weights()]
        result = technique.apply(self.loaded, self.task)
        if not all(map(np.array_equal, before, self.loaded.get_weights())):
            raise WrongResult("the input model's weights were changed")
        outputs = self.outputs(result)
        if not all(np.isfinite(output).all() for output in outputs):
            raise WrongResult("the result's outputs are not finite")
        return result

    def samples(self) -> list[np.ndarray]:
        """Some inputs, in the order of `loaded`'s."""
        x = next(iter(self.task.validation.batches(_COMPARED)))[0]
        return columns(x, self.loaded.input_names)

    def outputs(self, model: tf_keras.Model) -> list[np.ndarray]:
        """The outputs of a model like `loaded` for the samples."""
        arrays = self.samples()
        return outputs_of(model, arrays if len(arrays) > 1 else arrays[0])

    def own_outputs(self) -> list[np.ndarray]:
        """The outputs of the user's own model for the samples."""
        arrays = self.samples()
        structure = getattr(self.model, "input", None) if len(arrays) > 1 else None
        if isinstance(structure, dict):
            return outputs_of(self.model, dict(zip(self.loaded.input_names, arrays, strict=True)))
        return outputs_of(self.model, arrays if len(arrays) > 1 else arrays[0])

    def file_outputs(self, tflite: bytes, *, kernels: Any) -> list[np.ndarray]:
        """The outputs of a file for the samples, in the order of `loaded`'s."""
        file = TFLiteModel(tflite, kernels=kernels)
        found = file.predict(dict(zip(self.loaded.input_names, self.samples(), strict=True)))
        named = dict(zip([spec.name for spec in file.outputs], found, strict=True))
        names = self.loaded.output_names
        return [named[name] for name in names] if set(names) == set(named) else found
