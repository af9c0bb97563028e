"""What the loaders share: the record they return, images as inputs, and carving splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tfopt.data import ArraySplit, DatasetSplit, Split
from tfopt.errors import DataError, nearest
from tfopt.progress import bar
from tfopt.settings import check_whole

if TYPE_CHECKING:
    import tensorflow as tf

ImageType = Literal["float32", "uint8"]

# A split whose images take more is streamed from disk instead of being held in memory.
_MEMORY_LIMIT = 2 * 2**30
_READ_BATCH = 512


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A data set: its splits, the names of its classes, and the groups of its samples."""

    train: Split
    validation: Split
    test: Split | None
    class_names: tuple[str, ...] | None
    groups: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ImageFormat:
    """How stored images become inputs.

    Args:
        image_size: Height and width to resize to; None keeps them as they are.
        dtype: `"float32"` for 0 to 1, `"uint8"` for 0 to 255.

    Raises:
        DataError: A setting cannot be.
    """

    image_size: tuple[int, int] | None
    dtype: ImageType

    def __post_init__(self) -> None:
        if self.dtype not in get_args(ImageType):
            raise DataError(
                received=f"dtype={self.dtype!r}",
                expected=nearest(str(self.dtype), get_args(ImageType)),
                fix="float32 gives pixels from 0 to 1, uint8 from 0 to 255",
            )
        size = self.image_size
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise DataError(
                received=f"image_size={size}",
                expected="(height, width), both at least 1",
                fix="pass the size the model was trained on, such as (96, 96)",
            )

    def resized(self, image: tf.Tensor) -> tf.Tensor:
        """Returns an image of `image_size`, uint8."""
        import tensorflow as tf

        if self.image_size is None or tuple(image.shape[:2]) == tuple(self.image_size):
            return image
        pixels = tf.image.resize(image, self.image_size, antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)

    def split(self, images: tf.data.Dataset, size: int, name: str) -> Split:
        """Returns a split of a stream of (uint8 image, label): in memory unless it is large."""
        if self.fits_memory(images, size):
            return self.array_split(*read(images, size, name), name=name)
        import tensorflow as tf

        def pixels(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return (tf.cast(image, tf.float32) / 255 if self.dtype == "float32" else image), label

        stream = images.map(pixels, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return DatasetSplit(stream, size=size, name=name)

    def fits_memory(self, images: tf.data.Dataset, size: int) -> bool:
        """Returns whether the images of a stream are few enough to be held in memory."""
        pixels = int(np.prod(images.element_spec[0].shape))
        return size * pixels * np.dtype(self.dtype).itemsize <= _MEMORY_LIMIT

    def array_split(self, images: np.ndarray, labels: np.ndarray, *, name: str) -> Split:
        """Returns a split of uint8 images."""
        pixels = images.astype(np.float32) / 255 if self.dtype == "float32" else images
        return ArraySplit(pixels, labels, name=name)


def read(images: tf.data.Dataset, size: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads a whole stream of (uint8 image, label) into memory.

    Raises:
        DataError: The stream is empty, or shorter or longer than it says.
    """
    if not size:
        raise DataError(
            received=f"a {name} split without samples",
            expected="at least one sample",
            fix="check the slice or the filter it comes from",
        )
    pixels = np.empty((size, *images.element_spec[0].shape), np.uint8)
    labels = np.empty(size, np.int64)
    start = 0
    batches = images.batch(_READ_BATCH).prefetch(2).as_numpy_iterator()
    for image, label in bar(batches, f"Reading {name}", total=-(-size // _READ_BATCH)):
        stop = start + len(label)
        if stop > size:
            break
        pixels[start:stop], labels[start:stop] = image, label
        start = stop
    if start != size or stop > size:
        raise DataError(
            received=f"a {name} split of {'more' if stop > size else start} samples",
            expected=f"the {size} it says it has",
            fix="the prepared data is damaged: remove it and prepare it again",
        )
    return pixels, labels


def carve(labels: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Divides samples at random, each class in the same proportions.

    Args:
        labels: The class of each sample; all equal divides without looking at classes.
        shares: The share of each part; what is left is the first part returned.
        seed: The same seed divides alike.

    Returns:
        Positions, ascending: the rest first, then a part for each share.

    Raises:
        SettingError: `seed` is no whole number from 0.

    Example:
        >>> [len(part) for part in carve(np.zeros(20), [0.1, 0.1], seed=0)]
        [16, 2, 2]
    """
    check_whole(0, seed=seed)
    generator = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels):
        positions = generator.permutation(np.flatnonzero(labels == label))
        # a class too small for its share still gives one sample, if it has any to spare
        sizes = [max(round(len(positions) * share), 1) for share in shares]
        if sum(sizes) >= len(positions):
            sizes = [0] * len(sizes)
        stops = np.cumsum([len(positions) - sum(sizes), *sizes])
        for part, piece in zip(parts, np.split(positions, stops[:-1]), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
