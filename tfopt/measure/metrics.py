"""Metrics by name, in numpy: what Keras computes, without Keras."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from tfopt.errors import DataError, SettingError, nearest
from tfopt.measure import keras_metrics

Rows = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric in two halves, so that it streams and can be resampled.

    Args:
        name: Its name.
        rows: What a batch adds: one row a sample, from labels, outputs and the threshold above
            which a single output means yes. Rows of bool are right or wrong: a proportion.
        reduce: The metric of any choice of rows.
        higher_is_better: Whether larger values are better.
        of_classes: Whether outputs stand for classes rather than for numbers.
    """

    name: str
    rows: Rows
    reduce: Callable[[np.ndarray], float]
    higher_is_better: bool = True
    of_classes: bool = True


def find(name: str) -> Metric:
    """Returns the metric of a name or an alias, as Keras spells it or shorter.

    Args:
        name: `"accuracy"` (of classes, chosen as Keras does: one output is compared with the
            threshold, labels as wide as the outputs are one-hot, others are class numbers),
            `"binary_accuracy"`, `"top_5_accuracy"` (or any other number), `"mean_iou"`, `"auc"`
            (area under the ROC curve), `"mae"`, `"mse"`, `"rmse"`, or an alias.

    Raises:
        SettingError: There is none.

    Example:
        >>> accuracy = find("accuracy")
        >>> rows = accuracy.rows(np.array([0, 1, 1]), np.array([[.9, .1], [.2, .8], [.7, .3]]), 0.5)
        >>> rows.tolist()
        [True, True, False]
        >>> round(accuracy.reduce(rows), 4)
        0.6667
    """
    try:
        return _METRICS[_ALIASES.get(name, name)]
    except (KeyError, TypeError):
        top = re.fullmatch(r"top_([1-9]\d*)_accuracy", str(name))
        if top is not None:
            return Metric(name, _top(int(top[1])), _mean)
        raise SettingError(
            received=f"metric={name!r}",
            expected=nearest(str(name), [*_METRICS, *_ALIASES, *keras_metrics.NAMES]),
            fix="use one of them, a Keras metric, or a function of (labels, outputs) to a number",
        ) from None


def class_numbers(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Returns labels, one-hot or class numbers, as class numbers that the outputs have.

    Args:
        labels: (samples, ...) or (samples, ..., 1) class numbers, or (samples, ..., classes).
        outputs: (samples, ..., classes).

    Returns:
        Integers, (samples, ...).

    Raises:
        DataError: Shapes do not fit, or a label is no class of the model.

    Example:
        >>> class_numbers(np.array([[0, 1], [1, 0]]), np.zeros((2, 2)))
        array([1, 0])
    """
    wanted, classes = outputs.shape[:-1], outputs.shape[-1]
    if labels.shape == outputs.shape and classes > 1:
        return labels.argmax(axis=-1)
    if labels.shape not in (wanted, (*wanted, 1)):
        raise _misfit(labels, outputs, f"{wanted} class numbers or {outputs.shape} one-hot")
    numbers = labels.reshape(wanted)
    low, high = numbers.min(), numbers.max()
    if low < 0 or high >= classes or (numbers != np.floor(numbers)).any():
        raise DataError(
            received=f"labels from {low} to {high} for a model of {classes} classes",
            expected=f"class numbers from 0 to {classes - 1}",
            fix="use the data the model was trained for, or a model with an output for each class",
        )
    return numbers.astype(np.int64)


def sample_classes(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray | None:
    """Returns the right class of each sample; None if samples have no single one.

    Args:
        labels: The labels of one output, (samples, ...).
        outputs: What a model gives there, (samples, ...).

    Returns:
        Integers, (samples,).

    Example:
        >>> sample_classes(np.array([[0, 1], [1, 0]]), np.zeros((2, 2)))
        array([1, 0])
        >>> sample_classes(np.array([[1, 1], [0, 1]]), np.zeros((2, 2))) is None  # two at once
        True
    """
    outputs = _with_classes(outputs)
    if outputs.ndim != 2:
        return None
    wide = labels.shape == outputs.shape and outputs.shape[1] > 1
    if wide and not ((labels >= 0).all() and np.allclose(labels.sum(axis=1), 1, atol=1e-3)):
        return None
    try:
        return _labels(labels, outputs)
    except DataError:
        return None


def decide(outputs: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the class each output stands for: the largest one, or whether the single one is yes.

    Args:
        outputs: (samples, ..., classes), or (samples, ..., 1), or (samples,).
        threshold: Above it a single output means class 1: 0.5 for a probability, 0 for a logit.

    Returns:
        Integers, (samples, ...).

    Example:
        >>> decide(np.array([[0.4], [0.6]]), 0.5), decide(np.array([[3., 1.], [0., 2.]]), 0.5)
        (array([0, 1]), array([0, 1]))
    """
    outputs = _with_classes(outputs)
    if outputs.shape[-1] == 1:
        return (outputs[..., 0] > threshold).astype(np.int64)
    return outputs.argmax(axis=-1)


def _with_classes(outputs: np.ndarray) -> np.ndarray:
    """Outputs without an axis of classes have one class for each sample."""
    return outputs[:, np.newaxis] if outputs.ndim == 1 else outputs


def _labels(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Class numbers of the labels; 0 and 1 if there is a single output."""
    if outputs.shape[-1] > 1:
        return class_numbers(labels, outputs)
    both = np.broadcast_to(outputs, (*outputs.shape[:-1], 2))
    return class_numbers(_paired(labels, outputs), both)


def _misfit(labels: np.ndarray, outputs: np.ndarray, expected: str) -> DataError:
    return DataError(
        received=f"labels of shape {labels.shape} for outputs of shape {outputs.shape}",
        expected=f"labels of shape {expected}",
        fix="check that the labels belong to this model, and how they are encoded",
    )


def _per_sample(values: np.ndarray) -> np.ndarray:
    """One number a sample: booleans stay booleans where a sample has a single one."""
    if values.size == len(values):
        return values.reshape(-1)
    return values.reshape(len(values), -1).mean(axis=1)


def _accuracy(labels: np.ndarray, outputs: np.ndarray, threshold: float) -> np.ndarray:
    outputs = _with_classes(outputs)
    return _per_sample(_labels(labels, outputs) == decide(outputs, threshold))


def _binary_accuracy(labels: np.ndarray, outputs: np.ndarray, threshold: float) -> np.ndarray:
    return _per_sample(_paired(labels, outputs) == (outputs > threshold))


def _top(count: int) -> Rows:
    """Whether fewer than so many classes come before the right one.

    Of equal outputs the first comes first, as in argmax: were all of them counted in, as Keras
    does, an 8-bit net's many equal zeros would pass for hits.
    """

    def rows(labels: np.ndarray, outputs: np.ndarray, _: float) -> np.ndarray:
        right = class_numbers(labels, outputs)[..., np.newaxis]
        score = np.take_along_axis(outputs, right, axis=-1)
        position = np.arange(outputs.shape[-1])
        before = (outputs > score) | ((outputs == score) & (position < right))
        return _per_sample(before.sum(axis=-1) < count)

    return rows


def _difference(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    return outputs.astype(np.float64) - _paired(labels, outputs)


def _paired(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Labels in the shape of the outputs: only axes of length 1 may differ."""

    def kept(shape: tuple[int, ...]) -> list[int]:
        return [size for size in shape[1:] if size != 1]

    if len(labels) != len(outputs) or kept(labels.shape) != kept(outputs.shape):
        raise _misfit(labels, outputs, str(outputs.shape))
    return labels.reshape(outputs.shape)


def _absolute(labels: np.ndarray, outputs: np.ndarray, _: float) -> np.ndarray:
    return _per_sample(np.abs(_difference(labels, outputs)))


def _squared(labels: np.ndarray, outputs: np.ndarray, _: float) -> np.ndarray:
    return _per_sample(_difference(labels, outputs) ** 2)


def _overlaps(labels: np.ndarray, outputs: np.ndarray, threshold: float) -> np.ndarray:
    """For each class the sizes of intersection and union, (samples, 2, classes)."""
    outputs = _with_classes(outputs)
    right = _labels(labels, outputs).reshape(len(labels), -1)
    found = decide(outputs, threshold).reshape(len(labels), -1)
    classes = max(2, outputs.shape[-1])
    counts = [
        np.stack(
            [
                ((right == number) & (found == number)).sum(axis=1),
                ((right == number) | (found == number)).sum(axis=1),
            ],
            axis=1,
        )
        for number in range(classes)
    ]
    return np.stack(counts, axis=2)


def _mean_iou(rows: np.ndarray) -> float:
    """Mean over the classes that occur, in labels or outputs."""
    intersection, union = rows.sum(axis=0)
    occurs = union > 0
    return float((intersection[occurs] / union[occurs]).mean())


def _scores(labels: np.ndarray, outputs: np.ndarray, _: float) -> np.ndarray:
    """Scores and whether each is of the right class, (samples, 2, classes)."""
    outputs = _with_classes(outputs)
    if labels.size == outputs.size:
        right = _paired(labels, outputs) > 0
    else:
        numbers = class_numbers(labels, outputs)
        right = numbers[..., np.newaxis] == np.arange(outputs.shape[-1])
    pair = np.stack([outputs, right], axis=1).astype(np.float64)
    return pair.reshape(len(pair), 2, -1)


def _auc(rows: np.ndarray) -> float:
    """The chance that a right one scores above a wrong one; equal scores count half.

    References:
        J. A. Hanley and B. J. McNeil, "The Meaning and Use of the Area under a Receiver Operating
        Characteristic (ROC) Curve", Radiology 143 (1982), pages 29-36.
    """
    scores, right = rows[:, 0].ravel(), rows[:, 1].ravel() > 0
    positives = int(right.sum())
    negatives = len(right) - positives
    if not positives or not negatives:
        return float("nan")
    _, rank, count = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    above = middle[rank][right].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def _mean(rows: np.ndarray) -> float:
    return float(np.mean(rows))


def _root(rows: np.ndarray) -> float:
    return float(np.sqrt(np.mean(rows)))


_METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _accuracy, _mean),
        Metric("binary_accuracy", _binary_accuracy, _mean),
        Metric("top_5_accuracy", _top(5), _mean),
        Metric("mean_iou", _overlaps, _mean_iou),
        Metric("auc", _scores, _auc),
        Metric("mae", _absolute, _mean, higher_is_better=False, of_classes=False),
        Metric("mse", _squared, _mean, higher_is_better=False, of_classes=False),
        Metric("rmse", _squared, _root, higher_is_better=False, of_classes=False),
    )
}
_ALIASES = {
    "acc": "accuracy",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "top_k_categorical_accuracy": "top_5_accuracy",
    "sparse_top_k_categorical_accuracy": "top_5_accuracy",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "AUC": "auc",
    "MeanIoU": "mean_iou",
    "MeanAbsoluteError": "mae",
    "MeanSquaredError": "mse",
    "RootMeanSquaredError": "rmse",
}
