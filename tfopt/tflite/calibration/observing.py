"""Runs samples through a float file and looks at its activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfopt.data import Arrays
from tfopt.tflite.calibration.histogram import Histogram, Range
from tfopt.tflite.interpreter import TFLiteModel


def histograms(
    tflite: bytes, samples: Arrays, extremes: Mapping[int, Range]
) -> dict[int, Histogram]:
    """Returns how often activations take which value.

    Args:
        tflite: A file that computes in floating point.
        samples: Its inputs.
        extremes: The smallest and largest value of each activation, by the tensor's number.

    Raises:
        DataError: The samples do not fit the file.
        InterpreterError: The file fails to run.
    """
    found = {index: Histogram(ends) for index, ends in extremes.items()}
    model = TFLiteModel(tflite, keep_tensors=True)
    for _, batch in model.activations(samples, list(found)):
        for histogram, values in zip(found.values(), batch, strict=True):
            histogram.add(values)
    return found


def sample_extremes(
    tflite: bytes, samples: Arrays, tensors: Sequence[int]
) -> dict[int, np.ndarray]:
    """Returns the smallest and the largest value of activations in each sample.

    Args:
        tflite: A file that computes in floating point.
        samples: Its inputs.
        tensors: The tensors' numbers.

    Returns:
        Arrays of (samples, 2).

    Raises:
        DataError: The samples do not fit the file.
        InterpreterError: The file fails to run.
    """
    found: dict[int, list[np.ndarray]] = {index: [] for index in tensors}
    model = TFLiteModel(tflite, keep_tensors=True)
    for count, batch in model.activations(samples, tensors):
        for parts, values in zip(found.values(), batch, strict=True):
            apart = len(values) % count == 0 if values.ndim else False
            rows = values.reshape(count if apart else 1, -1)
            ends = np.stack([rows.min(axis=1), rows.max(axis=1)], axis=1)
            parts.append(ends if apart else np.repeat(ends, count, axis=0))
    return {index: np.concatenate(parts) for index, parts in found.items()}
