"""Random data that fits a model: its shapes and types are read from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt.errors import ModelError
from tfopt.task import Task

if TYPE_CHECKING:
    from tfopt.data import Arrays

Losses = str | tuple[str, ...]
_OPEN_SIZE = 16  # stands for a dimension that the model leaves open
_SPARSE = "sparse_categorical_crossentropy"
_PROBABILITIES = "binary_crossentropy"


def random_task(
    model: Any,
    *,
    loss: Losses = _SPARSE,
    samples: int = 64,
    low: float = 0.0,
    high: float = 1.0,
    seed: int = 0,
) -> Task:
    """Returns random data that fits a model, the same for the same seed.

    There is nothing to learn in it: it shows that a model can be trained, converted and run.

    Args:
        model: A functional or Sequential model of any Keras.
        loss: The loss of each output, which says what its labels are: class numbers, 0 or 1 for
            `binary_crossentropy`, else real numbers. One string is the loss of all outputs.
        samples: How many samples train has; validation has half.
        low: The smallest input.
        high: Inputs are below this; integers are whole numbers from 0.
        seed: Seeds the data.

    Raises:
        ModelError: The model has no inputs that could be read.

    Example:
        >>> from tfopt.testing import small_cnn
        >>> task = random_task(small_cnn(), samples=8)
        >>> task.train.x.shape, task.train.y.shape
        ((8, 8, 8, 1), (8,))
    """

    def pair(count: int, seed: int) -> tuple[Arrays, Any]:
        x = random_arrays(model, samples=count, low=low, high=high, seed=seed)
        return (tuple(x) if isinstance(x, list) else x), _labels(model, loss, count, seed)

    return Task.from_arrays(
        pair(samples, seed),
        pair(samples // 2, seed + 1),
        loss=loss if isinstance(loss, str) else list(loss),
        metric=_metric(loss),
        batch_size=16,
        seed=seed,
    )


def _metric(losses: Losses) -> str | tuple[str, ...]:
    """What measures outputs of these losses: classes by accuracy, numbers by their error."""
    every = [losses] if isinstance(losses, str) else losses
    classes = (_SPARSE, _PROBABILITIES)
    metrics = tuple("accuracy" if loss in classes else "mse" for loss in every)
    return metrics if len(set(metrics)) > 1 else metrics[0]


def random_arrays(model: Any, *, samples: int, low: float, high: float, seed: int) -> Any:
    """Returns random inputs, as the model takes them: an array, a list or a dict of arrays.

    Args:
        model: A functional or Sequential model of any Keras.
        samples: How many.
        low: The smallest input.
        high: Inputs are below this; integers are whole numbers from 0.
        seed: Seeds them.

    Raises:
        ModelError: The model has no inputs that could be read.

    Example:
        >>> from tfopt.testing import small_cnn
        >>> random_arrays(small_cnn(), samples=2, low=0, high=1, seed=0).shape
        (2, 8, 8, 1)
    """
    if not getattr(model, "inputs", None):
        raise ModelError(
            received=f"the model {model.name!r} of class {type(model).__name__}, without inputs",
            expected="a functional or Sequential model, whose inputs have shapes",
            fix="pass what tfopt.load_model makes of it",
        )
    generator = np.random.default_rng(seed)

    def array(tensor: Any) -> np.ndarray:
        shape = [samples, *(size or _OPEN_SIZE for size in tensor.shape[1:])]
        if "int" in str(getattr(tensor.dtype, "name", tensor.dtype)):
            return generator.integers(0, int(high), shape, np.int32)
        return generator.uniform(low, high, shape).astype(np.float32)

    if len(model.inputs) == 1:
        return array(model.inputs[0])
    structure = model.input
    if isinstance(structure, dict):
        return {name: array(structure[name]) for name in sorted(structure)}
    return [array(tensor) for tensor in structure]


def _labels(model: Any, loss: Losses, samples: int, seed: int) -> Any:
    """Labels for each output, in the model's order; the array itself if there is one output."""
    generator = np.random.default_rng(seed + 1000)
    losses = [loss] * len(model.outputs) if isinstance(loss, str) else list(loss)
    labels: list[np.ndarray] = []
    for tensor, kind in zip(model.outputs, losses, strict=True):
        shape = [samples, *(size or _OPEN_SIZE for size in tensor.shape[1:])]
        if kind == _SPARSE:
            labels.append(generator.integers(0, shape[-1], shape[:-1]))
        elif kind == _PROBABILITIES:
            labels.append(generator.integers(0, 2, shape).astype(np.float32))
        else:
            labels.append(generator.uniform(0.0, 1.0, shape).astype(np.float32))
    return tuple(labels) if len(labels) > 1 else labels[0]
