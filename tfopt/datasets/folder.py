"""Folders of image files: one sub-folder for each class."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfopt.data import DataWarning, Split
from tfopt.datasets.loaded import ImageFormat, Loaded, carve
from tfopt.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

_SUFFIXES = (".png", ".jpg", ".jpeg")
_SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_CARVED_SHARES = (0.1, 0.1)
_NAMED = 5

_Files = list[tuple[str, int]]  # path, label


def image_folder(
    directory: str | os.PathLike[str],
    image_format: ImageFormat,
    *,
    channels: int,
    seed: int,
) -> Loaded:
    """Loads PNG and JPEG files, one sub-folder for each class.

    Args:
        directory: Holds the classes, or `train`, `validation` and `test`, which hold the classes.
            Without `validation` (or `val`), a tenth of train is carved for it, and without `test`
            as well, another tenth for that. With `validation` and no `test`, there is no test part.
        image_format: The size and type of the inputs.
        channels: 3 for RGB, 1 for grey.
        seed: Seeds the carving.

    Raises:
        DataError: There are no images or no classes, a file cannot be read, or `val` and
            `validation` are both there.

    Warns:
        DataWarning: There are files that are no images.
    """
    if channels not in (1, 3):
        raise DataError(
            received=f"channels={channels}",
            expected="3 for RGB or 1 for grey",
            fix="pass what the model takes",
        )
    root = _directory(directory)
    folders = _split_folders(root)
    names = tuple(path.name for path in _folders(folders["train"]))
    if len(names) < 2:
        raise DataError(
            received=f"{os.fspath(folders['train'])!r} with {len(names)} sub-folder(s)",
            expected="a sub-folder for each class, at least two",
            fix="sort the images into one folder for each class",
        )
    listed = {split: _list(folder, names) for split, folder in folders.items()}
    files = _carved(listed, seed)
    train, validation = (
        _split(files[split], split, image_format, channels) for split in ("train", "validation")
    )
    test = _split(files["test"], "test", image_format, channels) if "test" in files else None
    return Loaded(train, validation, test, names)


def _directory(directory: str | os.PathLike[str]) -> Path:
    root = Path(directory)
    if root.is_dir():
        return root
    raise DataError(
        received=f"the image folder {os.fspath(directory)!r}, which is no directory",
        expected="a directory with a sub-folder for each class",
        fix="check the path",
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split; that of train is the root where there is none."""
    found = [path for path in _folders(root) if path.name in _SPLIT_NAMES]
    folders = {_SPLIT_NAMES[path.name]: path for path in found}
    if "train" not in folders:
        return {"train": root}
    if len(folders) < len(found):
        raise DataError(
            received=f"'val' and 'validation' in {os.fspath(root)!r}",
            expected="one folder for each split",
            fix="put their images together, or move one away",
        )
    return folders


def _folders(directory: Path) -> list[Path]:
    return sorted(
        path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _list(folder: Path, names: tuple[str, ...]) -> _Files:
    """Returns the images of all classes, in the order of class and file name."""
    unknown = [path.name for path in _folders(folder) if path.name not in names]
    if unknown:
        raise DataError(
            received=f"the classes {unknown[:_NAMED]} in {os.fspath(folder)!r}",
            expected=f"the classes of train: {', '.join(names)}",
            fix="rename the folders alike",
        )
    files: _Files = []
    others: list[str] = []
    for label, name in enumerate(names):
        found = sorted((folder / name).rglob("*")) if (folder / name).is_dir() else []
        for path in found:
            if path.is_dir() or path.name.startswith("."):
                continue
            if path.suffix.lower() in _SUFFIXES:
                files.append((os.fspath(path), label))
            else:
                others.append(os.fspath(path))
    if not files:
        raise DataError(
            received=f"no image in {os.fspath(folder)!r}",
            expected=f"files ending in {', '.join(_SUFFIXES)}",
            fix="check the path, or convert the images",
        )
    if others:
        warnings.warn(
            f"{len(others)} file(s) are no PNG or JPEG and are left out: "
            f"{', '.join(others[:_NAMED])}",
            DataWarning,
            stacklevel=4,
        )
    return files


def _carved(listed: dict[str, _Files], seed: int) -> dict[str, _Files]:
    """Returns the splits, those without a folder of their own carved from train."""
    missing = [split for split in ("validation", "test") if split not in listed]
    if "validation" in listed:
        missing = []  # a set that comes divided is left as it is
    parts, train = dict(listed), listed["train"]
    labels = np.array([label for _, label in train])
    positions = carve(labels, _CARVED_SHARES[: len(missing)], seed)
    for split, index in zip(["train", *missing], positions, strict=True):
        parts[split] = [train[place] for place in index]
    return parts


def _split(files: _Files, name: str, image_format: ImageFormat, channels: int) -> Split:
    if not files:
        raise DataError(
            received=f"too few images to carve a {name} split from",
            expected="at least ten images of each class",
            fix=f"add images, or put some into a {name} folder",
        )
    import tensorflow as tf

    def decoded(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _decode(path, image_format, channels), label

    paths, labels = (list(column) for column in zip(*files, strict=True))
    images = tf.data.Dataset.from_tensor_slices((paths, np.array(labels, np.int64))).map(
        decoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    try:
        return image_format.split(images, len(files), name)
    except tf.errors.OpError as error:
        bad = _unreadable(paths, image_format, channels)
        raise DataError(
            received=f"image files that cannot be read: {', '.join(bad[:_NAMED])}",
            expected="whole PNG or JPEG files",
            fix="repair or remove them",
        ) from error


def _decode(path: tf.Tensor, image_format: ImageFormat, channels: int) -> tf.Tensor:
    import tensorflow as tf

    content = tf.io.read_file(path)
    image = tf.io.decode_image(content, channels=channels, expand_animations=False)
    resized = image_format.resized(tf.ensure_shape(image, (None, None, channels)))
    return tf.ensure_shape(resized, (*(image_format.image_size or (None, None)), channels))


def _unreadable(paths: list[str], image_format: ImageFormat, channels: int) -> list[str]:
    import tensorflow as tf

    bad = []
    for path in paths:
        try:
            _decode(tf.constant(path), image_format, channels)
        except tf.errors.OpError:
            bad.append(path)
        if len(bad) == _NAMED:
            break
    return bad
