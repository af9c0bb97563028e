"""The training data on its way to the model: shuffled, batched, augmented."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays, ArraySplit, DatasetSplit, Split, concatenate, leaves, length
from tfopt.training.failures import of_augmentation

if TYPE_CHECKING:
    from tfopt.task import Task

MOST_BYTES = 2**30
"""Streamed training data up to this size, decoded, is kept in memory."""

_STREAM_SHUFFLE = 10_000
_READ = 1024
_LOOKED_AT = 64

# What one technique has read, the next one need not decode again.
_IN_MEMORY: weakref.WeakKeyDictionary[Split, ArraySplit] = weakref.WeakKeyDictionary()


def batches(task: Task, *, shared: bool = False) -> tf.data.Dataset:
    """Returns endless shuffled batches of the training data, in the same order for the same seed.

    Samples in memory are shuffled by position and gathered a batch at a time, several times faster
    than shuffling the samples themselves. A stream is read into memory once, if it fits in
    `MOST_BYTES` and gives the same samples at each pass (one that augments goes on doing so).

    Args:
        task: The training split, the batch size, the seed and the augmentation.
        shared: The batches are split among replicas: all are full ones, since a replica that is
            left without a sample would spoil the batch statistics.

    Raises:
        SettingError: The augmentation fails.

    Example:
        >>> import tfopt
        >>> x, y = next(iter(batches(tfopt.Task.digits(batch_size=100))))
        >>> x.shape, y.shape
        (TensorShape([100, 8, 8, 1]), TensorShape([100]))
    """
    split = in_memory(task.train)
    if isinstance(split, ArraySplit):
        positions = tf.data.Dataset.range(split.size).shuffle(split.size, seed=task.seed)
        dataset = _gathered(split, _batched(positions, task, shared))
    else:
        stream = split.dataset.shuffle(min(split.size, _STREAM_SHUFFLE), seed=task.seed)
        dataset = _batched(stream, task, shared)
    augment = task.augment
    if augment is not None:
        # one batch after another: random numbers drawn side by side come in no fixed order
        with of_augmentation(task):
            dataset = dataset.map(lambda x, y: (augment(x), y))
    if not shared:
        dataset = dataset.repeat()
    options = tf.data.Options()
    # each worker reads all and keeps its part: there are no files to share out
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)


def in_memory(split: Split) -> Split:
    """Returns a split as arrays if it is small enough and stays the same, else as it is.

    Args:
        split: Arrays, or a stream.
    """
    if split in _IN_MEMORY:
        return _IN_MEMORY[split]
    if isinstance(split, ArraySplit) or not _fits(split):
        return split
    x, y = (concatenate(side) for side in zip(*split.batches(_READ), strict=True))
    _IN_MEMORY[split] = ArraySplit(x, y)
    return _IN_MEMORY[split]


def _fits(split: DatasetSplit) -> bool:
    first = split.first()
    bytes_each = sum(map(_bytes, first)) / length(first[0])
    return bytes_each * split.size <= MOST_BYTES and not _changes(split)


def _changes(split: DatasetSplit) -> bool:
    """Whether a stream gives other samples at each pass, as one that augments does."""
    count = min(split.size, _LOOKED_AT)
    # two passes of one iterator: with a global seed, two iterators draw the same random numbers
    twice = split.dataset.take(count).repeat(2).batch(count)
    first, again = (tf.nest.flatten(batch) for batch in twice)
    return not all(np.array_equal(*pair) for pair in zip(first, again, strict=True))


def _bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for _, array in leaves(arrays))


def _batched(samples: tf.data.Dataset, task: Task, shared: bool) -> tf.data.Dataset:
    """Batches of an epoch, the last one short; or endless full ones."""
    if shared:
        return samples.repeat().batch(task.batch_size, drop_remainder=True)
    return samples.batch(task.batch_size)


def _gathered(split: ArraySplit, positions: tf.data.Dataset) -> tf.data.Dataset:
    arrays = tf.nest.map_structure(tf.convert_to_tensor, (split.x, split.y))
    return positions.map(
        lambda index: tf.nest.map_structure(lambda array: tf.gather(array, index), arrays),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
