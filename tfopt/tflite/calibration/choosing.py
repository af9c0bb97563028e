"""Chooses the ranges of a float file's activations by what samples show of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfopt.data import Arrays
from tfopt.errors import ConversionError
from tfopt.target import Target
from tfopt.tflite import naming, schema
from tfopt.tflite.calibration import entropy, mse, observing, ranges, tensors
from tfopt.tflite.calibration.grid import INT8, INT16
from tfopt.tflite.calibration.histogram import Histogram, Range

# The converter's calibration writes the largest float for infinity; its quantizer then crashes.
_OVERFLOW = 1e30


def ranged(tflite: bytes, samples: Arrays, target: Target, scopes: Mapping[str, str]) -> bytes:
    """Returns a calibrated float file with the ranges that the target's method chooses.

    The converter's own calibration has written the extremes, which is `min_max`: for that method
    the file stays as it is, but for activations that are always zero. Ranges that the model or the
    converter states stay, too.

    Args:
        tflite: A float file with calibrated ranges.
        samples: Its inputs.
        target: The method, and the integers.
        scopes: What the layer of each scope in the tensors' names is called.

    Raises:
        ConversionError: An activation is not finite, or a weight is NaN.
        InterpreterError: The file fails to run.
    """
    model = schema.unpack(tflite)
    _check_numbers(model, scopes)
    free = tensors.free(model)
    chosen = tensors.without_values(free)
    seen = {index: extremes for index, extremes in free.items() if index not in chosen}
    if target.calibration != "min_max" and seen:
        chosen |= _chosen(tflite, samples, target, seen)
    if not chosen:
        return tflite
    tensors.write(model, chosen)
    return schema.pack(model)


def _chosen(
    tflite: bytes, samples: Arrays, target: Target, extremes: Mapping[int, Range]
) -> dict[int, Range]:
    """The ranges of the activations by the target's method; the extremes where it finds none."""
    if target.calibration == "moving_average":
        found = observing.sample_extremes(tflite, samples, list(extremes))
        chosen = {index: ranges.moving_average(ends) for index, ends in found.items()}
    else:
        counted = observing.histograms(tflite, samples, extremes)
        chosen = {index: _of_histogram(h, target) for index, h in counted.items()}
    return {index: found if any(found) else extremes[index] for index, found in chosen.items()}


def _of_histogram(histogram: Histogram, target: Target) -> Range:
    grid = INT16 if target.numerics == "int16x8" else INT8
    if target.calibration == "percentile":
        return ranges.percentile(histogram)
    if target.calibration == "mse":
        return mse.smallest_error(histogram, grid)
    return entropy.least_divergence(histogram, grid)


def _check_numbers(model: Any, scopes: Mapping[str, str]) -> None:
    """Refuses activations that overflow, and weights that are NaN, which no range holds."""
    graph = model.subgraphs[0]
    for index, extremes in tensors.calibrated(model).items():
        if not np.abs(extremes).max() < _OVERFLOW:
            raise ConversionError(
                received=f"a range of {extremes.low:.4g} to {extremes.high:.4g} at "
                f"{_name(graph.tensors[index], scopes)!r} on the representative samples",
                expected="finite activations, well within what float32 holds",
                fix="check the inputs' scaling, and that the model's own predictions are finite",
            )
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        real = schema.type_name(tensor.type) == "float32" and data is not None
        if real and np.isnan(np.min(data.view(np.float32), initial=0)):
            raise ConversionError(
                received=f"NaN in the weights of {_name(tensor, scopes)!r}",
                expected="numbers",
                fix="train the model again from where its loss was a number",
            )


def _name(tensor: Any, scopes: Mapping[str, str]) -> str:
    return naming.in_file(schema.text(tensor.name), scopes)
