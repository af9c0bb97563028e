"""Features of a TFDS set beside image and class, as names of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfopt.errors import DataError, nearest

_BATCH = 4096


def check_features(builder: Any, features: Sequence[str]) -> None:
    """Refuses features that a set does not have, or that are no names or numbers.

    Args:
        builder: The set's builder.
        features: Their names.

    Raises:
        DataError: One is none.
    """
    known = builder.info.features
    for name in features:
        if name not in known or known[name].shape != ():
            received = f"the feature {name!r} of {builder.info.full_name}"
            shape = f", of shape {known[name].shape}" if name in known else ""
            raise DataError(
                received=received + shape,
                expected="one name or number a sample: "
                + nearest(str(name), [key for key in known if known[key].shape == ()]),
                fix="correct the groups, or use task.grouped with a function of (x, y)",
            )


def read_features(
    builder: Any, features: Sequence[str], places: Mapping[str, tuple[str, np.ndarray | None]]
) -> dict[str, dict[str, np.ndarray]]:
    """Reads features of the samples of some splits, without decoding their images.

    Args:
        builder: The set's builder.
        features: The features' names, which `check_features` has passed.
        places: For each of the task's splits, the set's own split and the positions in it; None is
            all of them.

    Returns:
        By feature and split the names, (samples,).
    """
    import tensorflow_datasets

    whole: dict[tuple[str, str], np.ndarray] = {}
    for feature in features:
        for split in {split for split, _ in places.values()}:
            stream = builder.as_dataset(
                split=split,
                decoders=tensorflow_datasets.decode.PartialDecoding({feature: True}),
                shuffle_files=False,
                read_config=tensorflow_datasets.ReadConfig(try_autocache=False),
            )
            batches = stream.batch(_BATCH).as_numpy_iterator()
            values = np.concatenate([batch[feature] for batch in batches])
            whole[feature, split] = _names(values, builder.info.features[feature])
    return {
        feature: {
            name: whole[feature, split] if index is None else whole[feature, split][index]
            for name, (split, index) in places.items()
        }
        for feature in features
    }


def _names(values: np.ndarray, feature: Any) -> np.ndarray:
    """Values as a reader knows them."""
    if getattr(feature, "names", None):
        # a class that is not known is -1, which is the last name here
        return np.asarray([*feature.names, "unknown"])[values]
    if values.dtype.kind in "SO":
        return np.asarray([value.decode("utf-8", "replace") for value in values])
    return values.astype(str)
