"""Test samples that training or the choices have seen already: their figures flatter."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping

import numpy as np

from tfopt.data import Arrays, ArraySplit, DataWarning, leaves

# Fewer than this may repeat by chance, among few pixels or table cells.
_TOLERATED = 0.01
# Beyond this, looking takes longer than anyone would wait for a warning.
_LARGEST_BYTES = 2**30


def warn_of_known_samples(splits: Mapping[str, ArraySplit]) -> None:
    """Warns if test samples are among those of train or validation.

    Args:
        splits: The splits by name; nothing is done without `test`.

    Warns:
        DataWarning: More than one in a hundred is.
    """
    test = splits.get("test")
    if test is None or _bytes(splits) > _LARGEST_BYTES:
        return
    samples = _hashes(test.x)
    for name in ("train", "validation"):
        known = set(_hashes(splits[name].x))
        found = [place for place, sample in enumerate(samples) if sample in known]
        if len(found) > _TOLERATED * len(samples):
            warnings.warn(
                f"{len(found)} of {len(samples)} test samples are in {name} too (the first: sample "
                f"{found[0]}): figures on the test set will look better than they are",
                DataWarning,
                stacklevel=3,
            )


def _bytes(splits: Mapping[str, ArraySplit]) -> int:
    return sum(array.nbytes for split in splits.values() for _, array in leaves(split.x))


def _hashes(x: Arrays) -> list[bytes]:
    arrays = [np.ascontiguousarray(array) for _, array in leaves(x)]
    return [
        hashlib.blake2b(
            b"".join(array[place].tobytes() for array in arrays), digest_size=16
        ).digest()
        for place in range(len(arrays[0]))
    ]
