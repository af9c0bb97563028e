"""Named data sets, loaded into splits: the embedded digits, TFDS, folders of images, `tf.data`."""

from __future__ import annotations

import dataclasses
import importlib.resources

import numpy as np

from tfopt.data import ArraySplit, Split


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A data set: its splits and the names of its classes."""

    train: Split
    validation: Split
    test: Split | None
    class_names: tuple[str, ...] | None


def digits() -> Loaded:
    """Loads the 1,797 handwritten digits embedded in the package, 8x8 pixels in 0..1."""
    file = importlib.resources.files("tfopt") / "data_files" / "digits.npz"
    with file.open("rb") as stream, np.load(stream) as content:
        splits = {
            name: ArraySplit(
                content[f"{name}_x"].astype(np.float32) / 16,
                content[f"{name}_y"].astype(np.int64),
                name=name,
            )
            for name in ("train", "validation", "test")
        }
    return Loaded(**splits, class_names=tuple("0123456789"))
