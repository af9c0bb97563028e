"""Image classification sets of TensorFlow Datasets, prepared on disk or downloaded."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt.data import ArraySplit, Split, leaves
from tfopt.datasets.features import check_features, read_features
from tfopt.datasets.loaded import ImageFormat, Loaded, carve, read
from tfopt.errors import DataError
from tfopt.progress import shown

if TYPE_CHECKING:
    import tensorflow as tf

_VALIDATION_NAMES = ("validation", "val", "dev")
_CARVED_SHARE = 0.1


def tfds(
    name: str,
    image_format: ImageFormat,
    *,
    data_dir: str | os.PathLike[str] | None,
    train: str,
    validation: str | None,
    test: str | None,
    seed: int,
    download: bool,
    groups: Sequence[str] = (),
) -> tuple[Loaded, str]:
    """Loads an image classification set of TFDS.

    Args:
        name: As TFDS names it, such as `"mnist"` or `"cifar10:3.0.2"`.
        image_format: How its images become inputs.
        data_dir: Where it is prepared, or will be; None is TFDS' own place.
        train: The split to train on, as TFDS writes it, such as `"train[:10%]"`.
        validation: Likewise; None takes the set's own or carves a tenth from `train`.
        test: Likewise; None takes the set's own; a set of nothing but `train` gives a tenth.
        seed: Seeds the carving.
        download: Whether it may be downloaded.
        groups: Features, such as `"sex"`, that divide the samples into groups.

    Returns:
        The splits, and the set's full name with its version.

    Raises:
        DataError: There is no such set or split, it is not of images with classes, its images
            differ in size, or it is not on disk and cannot be downloaded.
    """
    builder = _builder(name, data_dir)
    _prepare(builder, name, download)
    names = _class_names(builder, name)
    check_features(builder, groups)
    own = list(builder.info.splits)
    validation = validation or next((split for split in _VALIDATION_NAMES if split in own), None)
    test = test or ("test" if "test" in own else None)

    # In the order of the shares carve() gives them.
    carved = [] if validation else ["validation"] if test else ["validation", "test"]
    opened = _open(builder, train, image_format)
    splits, positions = _carved(opened, carved, image_format, seed)
    places: dict[str, tuple[str, np.ndarray | None]] = {
        part: (train, index) for part, index in positions.items()
    }
    for part, split in (("validation", validation), ("test", test)):
        if split:
            splits[part] = image_format.split(*_open(builder, split, image_format), part)
            places[part] = split, None
    for part, loaded in splits.items():
        _check_labels(loaded, part, len(names))
    return (
        Loaded(
            splits["train"],
            splits["validation"],
            splits.get("test"),
            names,
            read_features(builder, groups, places),
        ),
        _pinned(builder),
    )


def is_known(name: str) -> bool:
    """Returns whether TFDS has a set of a name, with or without a version or configuration."""
    import tensorflow_datasets

    known = tensorflow_datasets.list_builders(with_community_datasets=False)
    return name.partition(":")[0].partition("/")[0] in known


def _pinned(builder: Any) -> str:
    """The name that loads this version again."""
    config = f"/{builder.builder_config.name}" if builder.builder_config else ""
    return f"{builder.name}{config}:{builder.version}"


def _builder(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    import tensorflow_datasets

    where = os.fspath(data_dir) if data_dir is not None else None
    try:
        with _without_log():
            return tensorflow_datasets.builder(name, data_dir=where, try_gcs=False)
    except (ValueError, AssertionError, TypeError) as error:
        known = tensorflow_datasets.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name.split(":")[0], known, n=3)
        raise DataError(
            received=f"the data set {name!r} ({str(error).splitlines()[0]})",
            expected="a name of the TFDS catalog" + f", such as {', '.join(close)}" * bool(close),
            fix="correct the name or the version, or pass the data_dir (--data_dir) that holds it",
        ) from error


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """Keeps TFDS' remarks on incomplete folders out of the way of the error that explains them."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _prepare(builder: Any, name: str, download: bool) -> None:
    """Downloads the set if it is not on disk."""
    with _without_log():
        if builder.is_prepared():
            return
    fix = (
        f"prepare it on a machine with a network, tfds.load({name!r}), and pass its directory as "
        "data_dir (--data_dir)"
    )
    if not download or not _reachable(builder):
        raise DataError(
            received=f"the data set {name!r}, which is not prepared in "
            f"{os.fspath(builder.data_path)!r}"
            + (", and no network to download it" if download else ""),
            expected="a prepared set" + (" or a network" if download else ""),
            fix=fix,
        )
    import tensorflow_datasets

    if not shown():
        tensorflow_datasets.disable_progress_bar()
    try:
        # Its messages are no part of a command's output.
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare()
    except Exception as error:  # the code of a data set can raise anything
        raise DataError(
            received=f"the data set {name!r}, which failed to download or prepare "
            f"({type(error).__name__}: {' '.join(str(error).split())[:300]})",
            expected="a set that TFDS can prepare",
            fix=fix,
        ) from error


def _reachable(builder: Any) -> bool:
    """Returns whether any host of the set has an address: without one, TFDS tries for minutes."""
    hosts = {urllib.parse.urlparse(url).hostname for url in builder.url_infos or ()} - {None}
    if not hosts or urllib.request.getproxies():
        return True
    for host in hosts:
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            continue
        return True
    return False


def _class_names(builder: Any, name: str) -> tuple[str, ...]:
    """Returns the names of the classes of a set of (image, class)."""
    import tensorflow_datasets

    keys, features = builder.info.supervised_keys, builder.info.features
    kinds = tensorflow_datasets.features
    if isinstance(keys, tuple) and len(keys) == 2 and all(key in features for key in keys):
        image, label = (features[key] for key in keys)
        if isinstance(image, kinds.Image) and isinstance(label, kinds.ClassLabel):
            return tuple(label.names)
    raise DataError(
        received=f"the data set {name!r} with the supervised keys {keys} of "
        f"{', '.join(f'{key} ({type(value).__name__})' for key, value in features.items())}",
        expected="supervised keys of an image and its class",
        fix="load it with tfds.load, map it to pairs (inputs, labels) and use Task.from_dataset",
    )


def _open(builder: Any, split: str, image_format: ImageFormat) -> tuple[tf.data.Dataset, int]:
    """Returns a split as a stream of (uint8 image, label), always in the same order, and its size.

    Raises:
        DataError: There is no such split, or its images differ in size.
    """
    import tensorflow as tf
    import tensorflow_datasets

    try:
        size = builder.info.splits[split].num_examples
    except (KeyError, ValueError) as error:
        raise DataError(
            received=f"the split {split!r} of {builder.info.full_name}",
            expected=f"one of {', '.join(builder.info.splits)}, or a part such as 'train[:10%]'",
            fix="name the splits: train=, validation=, test=",
        ) from error
    images = builder.as_dataset(
        split=split,
        as_supervised=True,
        shuffle_files=False,
        read_config=tensorflow_datasets.ReadConfig(try_autocache=False),
    ).map(
        lambda image, label: (image_format.resized(image), label),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    shape = images.element_spec[0].shape
    if not shape.is_fully_defined():
        raise DataError(
            received=f"images of {builder.info.full_name} of shape {tuple(shape)}",
            expected="images of one size",
            fix="pass image_size=(height, width) (--image_size), the size the model takes",
        )
    return images, size


def _carved(
    opened: tuple[tf.data.Dataset, int], parts: list[str], image_format: ImageFormat, seed: int
) -> tuple[dict[str, Split], dict[str, np.ndarray]]:
    """Divides a stream into train and the other parts, a tenth each, and says what is in each."""
    images, size = opened
    shares = [_CARVED_SHARE] * len(parts)
    names = ["train", *parts]
    if image_format.fits_memory(images, size):
        pixels, labels = read(images, size, "train")
        positions = dict(zip(names, carve(labels, shares, seed), strict=True))
        return {
            name: image_format.array_split(pixels[index], labels[index], name=name)
            for name, index in positions.items()
        }, positions
    positions = dict(zip(names, carve(np.zeros(size), shares, seed), strict=True))
    return {
        name: image_format.split(_at(images, index, size), len(index), name)
        for name, index in positions.items()
    }, positions


def _at(images: tf.data.Dataset, index: np.ndarray, size: int) -> tf.data.Dataset:
    """Returns the samples of a stream at some positions."""
    import tensorflow as tf

    chosen = np.zeros(size, bool)
    chosen[index] = True
    mask = tf.constant(chosen)
    return images.enumerate().filter(lambda place, _: mask[place]).map(lambda _, sample: sample)


def _check_labels(split: Split, name: str, classes: int) -> None:
    labels = leaves(split.y if isinstance(split, ArraySplit) else split.first()[1])[0][1]
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            received=f"labels from {labels.min()} to {labels.max()} in the {name} split",
            expected=f"classes from 0 to {classes - 1}",
            fix=f"the labels of this split are hidden: name another one, {name}=",
        )
