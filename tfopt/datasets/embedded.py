"""The data set that comes with the package, so that nothing has to be downloaded to try it."""

from __future__ import annotations

import importlib.resources

import numpy as np

from tfopt.data import ArraySplit
from tfopt.datasets.loaded import Loaded

_LARGEST_PIXEL = 16


def digits() -> Loaded:
    """Loads 1,797 handwritten digits: (8, 8, 1) float32 in 0..1, and their labels 0 to 9.

    The split into train, validation and test (60, 20 and 20 % of each digit) is fixed.

    Example:
        >>> loaded = digits()
        >>> loaded.train.size, loaded.validation.size, loaded.test.size
        (1079, 359, 359)

    References:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
        Repository, 1998. CC BY 4.0.
    """
    file = importlib.resources.files("tfopt") / "data_files" / "digits.npz"
    with file.open("rb") as stream, np.load(stream) as content:
        splits = {
            name: ArraySplit(
                content[f"{name}_x"].astype(np.float32) / _LARGEST_PIXEL,
                content[f"{name}_y"].astype(np.int64),
                name=name,
            )
            for name in ("train", "validation", "test")
        }
    return Loaded(splits["train"], splits["validation"], splits["test"], tuple("0123456789"))
