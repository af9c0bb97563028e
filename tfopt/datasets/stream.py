"""Splits of a user's `tf.data.Dataset`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt.data import DatasetSplit, DataWarning, Split, leaves
from tfopt.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf


def stream(dataset: tf.data.Dataset, *, name: str, batched: bool | None = None) -> DatasetSplit:
    """Makes a split of a `tf.data.Dataset`, read from it as it is needed.

    Args:
        dataset: Pairs (inputs, labels), batched or not, which come in the same order at each pass.
        name: Which split it is: train, validation or test.
        batched: Whether the elements are batches; None finds it out from their shapes.

    Raises:
        DataError: The elements are no pairs of tensors, there are none or endlessly many, or they
            come in another order each time.

    Warns:
        DataWarning: Training data comes in another order each time.

    Example:
        >>> import tensorflow as tf
        >>> pairs = tf.data.Dataset.from_tensor_slices((np.zeros((5, 2)), np.arange(5)))
        >>> stream(pairs.batch(2), name="train").size
        5
    """
    import tensorflow as tf

    if not isinstance(dataset, tf.data.Dataset):
        raise DataError(
            received=f"{type(dataset).__name__} for {name}",
            expected="a tf.data.Dataset of (inputs, labels)",
            fix="use Task.from_arrays for arrays",
        )
    _check_elements(dataset.element_spec, name)
    if batched is None:
        batched = _is_batched(dataset.element_spec, name)
    size = _size(dataset, name, batched)
    split = DatasetSplit(dataset.unbatch() if batched else dataset, size=size, name=name)
    _check_order(split, name)
    return split


def _check_elements(spec: Any, name: str) -> None:
    import tensorflow as tf

    sides = spec if isinstance(spec, tuple) and len(spec) == 2 else ()
    tensors = [
        item
        for side in sides
        for item in (
            side.values() if isinstance(side, dict) else side if isinstance(side, tuple) else [side]
        )
    ]
    if tensors and all(isinstance(item, tf.TensorSpec) for item in tensors):
        return
    raise DataError(
        received=f"a {name} dataset of elements {spec}",
        expected="pairs (inputs, labels), each a dense tensor, a tuple or a dict of them",
        fix="map it to pairs; sample weights, ragged and sparse tensors are not taken",
    )


def _is_batched(spec: Any, name: str) -> bool:
    import tensorflow as tf

    shapes = [item.shape for item in tf.nest.flatten(spec)]
    if any(shape.rank == 0 for shape in shapes):
        return False
    firsts = {shape[0] if shape.rank else None for shape in shapes}
    if firsts == {None}:
        return True
    if len(firsts) > 1:
        return False
    raise DataError(
        received=f"a {name} dataset of elements {spec}",
        expected="shapes that tell whether the first axis counts samples",
        fix="say it: batched=True or batched=False",
    )


def _size(dataset: tf.data.Dataset, name: str, batched: bool) -> int:
    import tensorflow as tf

    cardinality = int(dataset.cardinality())
    if cardinality == tf.data.INFINITE_CARDINALITY:
        raise DataError(
            received=f"a {name} dataset without an end",
            expected="each sample once",
            fix="remove .repeat(); training repeats by itself",
        )
    if not batched and cardinality >= 0:
        return cardinality
    count = dataset.reduce(
        np.int64(0),
        lambda total, element: (
            total + (tf.shape(tf.nest.flatten(element)[0], tf.int64)[0] if batched else 1)
        ),
    )
    return int(count)


def _check_order(split: Split, name: str) -> None:
    once, again = split.first(), split.first()
    same = all(
        np.array_equal(ours, theirs)
        for side, other in zip(once, again, strict=True)
        for (_, ours), (_, theirs) in zip(leaves(side), leaves(other), strict=True)
    )
    if same:
        return
    if name == "train":
        warnings.warn(
            "the training dataset gives other samples at each pass: the same recipe will not give "
            "the same file again. Remove .shuffle() (training shuffles by itself) and random "
            "augmentation, or seed it with reshuffle_each_iteration=False",
            DataWarning,
            stacklevel=4,
        )
        return
    raise DataError(
        received=f"a {name} dataset that gives other samples at each pass",
        expected="the same samples in the same order, so that outputs can be compared",
        fix="remove .shuffle() and random augmentation from it",
    )
