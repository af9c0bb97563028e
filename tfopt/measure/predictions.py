"""Runs a model, as a file or in Keras, over a split."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tfopt.data import Arrays, Split, matched
from tfopt.progress import bar
from tfopt.tflite.batching import LARGEST_BATCH
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.parallel import available_cores, predict_batches

if TYPE_CHECKING:
    from tfopt.task import Task

Item = TypeVar("Item")
Labeled = tuple[list[np.ndarray], list[np.ndarray]]

_KERAS_BATCH = 128
_LARGEST_TASK = 2048
_TASK_BYTES = 2**24
_SCORED_BYTES = 2**17


def opened(source: Any, task: Task) -> Any:
    """Returns a file as a `TFLiteModel` and anything else as a tf_keras model, ready to be run.

    Args:
        source: A `.tflite` (bytes, path or `TFLiteModel`), or anything `tfopt.load_model` takes.
        task: Checks that a Keras model fits the data.

    Raises:
        DataError: The model does not fit the data.
        InterpreterError: The file cannot be run.
        ModelError: The model cannot be loaded.
    """
    is_file = isinstance(source, (str, os.PathLike)) and Path(source).suffix == ".tflite"
    if is_file or isinstance(source, (bytes, bytearray, memoryview)):
        return TFLiteModel(source)
    if isinstance(source, TFLiteModel):
        return source
    from tfopt.keras_gate import load_model

    model = load_model(source)
    task.check_training(model)  # warns of logits, too: they would be held against 0.5
    return model


def output_names(model: Any) -> list[str]:
    """Returns the names of the outputs of an opened model, in order."""
    if isinstance(model, TFLiteModel):
        return [spec.name for spec in model.outputs]
    return list(model.output_names)


def predictions(model: Any, samples: Split) -> Iterator[Labeled]:
    """Yields labels and outputs, one array for each output of the model, in batches and in order.

    Args:
        model: What `opened` gave.
        samples: The split to run.

    Raises:
        DataError: The samples do not fit the model.
        InterpreterError: The file cannot be run.
    """
    if isinstance(model, TFLiteModel):
        return _tflite_predictions(model, samples)
    return _keras_predictions(model, samples)


def _tflite_predictions(model: TFLiteModel, samples: Split) -> Iterator[Labeled]:
    """In the interpreter, on all cores."""
    names = output_names(model)
    quantized = {spec.dtype for spec in model.inputs if spec.scale is not None}
    size = _task_size(samples.size, model, available_cores())
    labels: collections.deque[Arrays] = collections.deque()

    def inputs() -> Iterator[Arrays]:
        for x, y in samples.batches(size):
            labels.append(y)
            yield _real(x, quantized)

    for outputs in _watched(predict_batches(model, inputs()), samples, size):
        yield matched(labels.popleft(), names), outputs


def _task_size(samples: int, model: TFLiteModel, workers: int) -> int:
    """How many samples a worker takes at a time.

    Four tasks for each worker end close together; two of a tiny net, which cost little more to run
    than to hand over, as do less than 32 samples. A few tasks for each worker must fit in memory.
    """
    sample_bytes = sum(
        4 * int(np.prod([size or 1 for size in spec.shape[1:]])) for spec in model.inputs
    )
    tasks = workers * (2 if model.largest_batch == LARGEST_BATCH else 4)
    share = max(-(-samples // tasks), min(32, samples // workers))
    return max(1, min(_LARGEST_TASK, share, _TASK_BYTES // max(1, sample_bytes)))


def _real(x: Arrays, quantized: set[str]) -> Arrays:
    """A task's integers are the numbers they say (a pixel's 0 to 255), never quantized already."""

    def real(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float32) if array.dtype.name in quantized else array

    if isinstance(x, dict):
        return {name: real(array) for name, array in x.items()}
    return tuple(map(real, x)) if isinstance(x, tuple) else real(x)


def _keras_predictions(model: Any, samples: Split) -> Iterator[Labeled]:
    """In Keras, in batches."""
    for x, y in _watched(samples.batches(_KERAS_BATCH), samples, _KERAS_BATCH):
        outputs = model.predict_on_batch(list(x) if isinstance(x, tuple) else x)
        if isinstance(outputs, dict):
            outputs = [outputs[name] for name in sorted(outputs)]  # the order of model.outputs
        outputs = outputs if isinstance(outputs, list) else [outputs]
        yield matched(y, output_names(model)), outputs


def gathered(batches: Iterator[Labeled]) -> Iterator[Labeled]:
    """Yields the same samples in larger batches, of some thousand outputs: cheaper to score.

    Args:
        batches: Labels and outputs, as `predictions` yields them.

    Example:
        >>> two = iter([([np.zeros(2)], [np.ones((2, 3))]), ([np.zeros(1)], [np.ones((1, 3))])])
        >>> [(labels[0].shape, outputs[0].shape) for labels, outputs in gathered(two)]
        [((3,), (3, 3))]
    """
    parts: list[Labeled] = []
    held = 0
    for part in batches:
        parts.append(part)
        held += sum(output.nbytes for output in part[1])
        if held > _SCORED_BYTES:
            yield _joined(parts)
            parts, held = [], 0
    if parts:
        yield _joined(parts)


def _joined(parts: Sequence[Labeled]) -> Labeled:
    """Several batches as one."""
    labels, outputs = (
        [np.concatenate(column) for column in zip(*side, strict=True)]
        for side in zip(*parts, strict=True)
    )
    return labels, outputs


def _watched(batches: Iterator[Item], samples: Split, size: int) -> Iterator[Item]:
    """The batches, with a progress bar for who is looking."""
    return bar(batches, "Evaluating", total=-(-samples.size // size), unit="batch")
