"""Chooses samples that stand for all: the same number of each class, or far from one another."""

from __future__ import annotations

import numpy as np

from tfopt.data.arrays import Arrays, leaves
from tfopt.data.splits import Split, sample_positions
from tfopt.errors import DataError

_POOL = 16  # times as many samples are looked at as are chosen, when they are to be spread out
_BATCH = 256
_SIZE = 8  # of an image while it is compared


def balanced_positions(split: Split, count: int, seed: int) -> np.ndarray:
    """Returns positions of samples with as many of each class as of any other, ascending.

    A class with fewer gives all it has.

    Args:
        split: Samples with a class each: by number, or one-hot.
        count: How many; all, if there are fewer.
        seed: Which of a class are taken.

    Raises:
        DataError: The labels are no classes.

    Example:
        >>> from tfopt.data import ArraySplit
        >>> split = ArraySplit(np.zeros((6, 2)), [0, 0, 0, 0, 0, 1])
        >>> 5 in balanced_positions(split, 2, seed=0)
        True
    """
    classes = np.concatenate([_classes(y) for _, y in split.batches(_BATCH)])
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    grouped = classes[order]
    rank = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    first = np.lexsort((generator.permutation(len(order)), rank))[:count]
    return np.sort(order[first])


def spread_positions(split: Split, count: int, seed: int) -> np.ndarray:
    """Returns positions of samples that are far from one another, ascending.

    The first is the one nearest to the mean; each further one is the farthest from those taken.
    Images are compared at 8 x 8 pixels.

    Args:
        split: The samples.
        count: How many; all, if there are fewer.
        seed: Which ones they are chosen from: sixteen times as many, at random.

    Example:
        >>> from tfopt.data import ArraySplit
        >>> split = ArraySplit(np.array([[0.0], [5.0], [5.1], [10.0]]), np.zeros(4))
        >>> spread_positions(split, 3, seed=0)
        array([0, 1, 3])

    References:
        Gonzalez, "Clustering to Minimize the Maximum Intercluster Distance", 1985; Sener and
        Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", 2018.
    """
    pool = sample_positions(split.size, _POOL * count, seed)
    points = _points(split, pool)
    taken = [int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))]
    distance = np.full(len(points), np.inf, np.float32)
    while len(taken) < min(count, len(points)):
        away = ((points - points[taken[-1]]) ** 2).sum(axis=1)
        np.minimum(distance, away, out=distance)
        distance[taken[-1]] = -1  # not again, even among samples that are all the same
        taken.append(int(np.argmax(distance)))
    return np.sort(pool[taken])


def _classes(labels: Arrays) -> np.ndarray:
    """The class of each sample."""
    if isinstance(labels, np.ndarray):
        if labels.ndim == 2 and labels.shape[1] > 1 and (labels.sum(axis=1) == 1).all():
            return np.argmax(labels, axis=1)
        whole = labels.reshape(len(labels), -1)
        if whole.shape[1] == 1 and (whole == np.rint(whole)).all():
            return whole[:, 0]
    shapes = [(array.shape[1:], array.dtype.name) for _, array in leaves(labels)]
    raise DataError(
        received=f"labels of {len(shapes)} output(s), of shape and type {shapes}",
        expected="one class for each sample, to take the same number of each",
        fix="use representative_choice='random' or 'spread'",
    )


def _points(split: Split, positions: np.ndarray) -> np.ndarray:
    """The samples at some positions as points, each input scaled to the same spread."""
    parts = [[_small(array) for _, array in leaves(x)] for x, _ in split.at(positions)]
    inputs = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return np.concatenate([points / (points.std() or 1) for points in inputs], axis=1)


def _small(array: np.ndarray) -> np.ndarray:
    """Samples with all axes between the first and the last averaged down, flat."""
    array = array.astype(np.float32)
    for axis in range(1, array.ndim - 1):
        size = array.shape[axis]
        if size > _SIZE:
            starts = np.arange(_SIZE) * size // _SIZE
            widths = np.diff(np.append(starts, size)).astype(np.float32)
            shape = [-1 if axis == other else 1 for other in range(array.ndim)]
            array = np.add.reduceat(array, starts, axis=axis) / widths.reshape(shape)
    return array.reshape(len(array), -1)
