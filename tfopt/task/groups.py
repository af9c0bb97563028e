"""Groups that samples belong to: by a label of their own, a feature of the data or a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfopt.data import Arrays, Split, length
from tfopt.errors import DataError, SettingError

Names = Sequence[Any] | np.ndarray
Grouping = Callable[[Arrays, Arrays], Names] | Mapping[str, Names]
"""A function of a batch (x, y) to a name for each sample, or the names of each split's samples."""

_BATCH = 1024


def checked(groups: Any, splits: Mapping[str, Split | None]) -> dict[str, Grouping]:
    """Returns groupings by name; one without a name is called "group".

    Args:
        groups: A grouping, or a dict of some by name.
        splits: The task's splits.

    Raises:
        DataError: There are not as many names as samples.
        SettingError: It is none of these.

    Example:
        >>> list(checked(lambda x, y: y > 4, {}))
        ['group']
    """
    if callable(groups) or (isinstance(groups, Mapping) and groups.keys() & splits.keys()):
        groups = {"group": groups}
    if not isinstance(groups, Mapping):
        raise SettingError(
            received=f"groups of type {type(groups).__name__}",
            expected="a function of a batch (x, y) to a name for each sample, or a dict",
            fix='pass groups={"camera": function}, or groups={"camera": {"test": names}}',
        )
    for by, grouping in groups.items():
        if callable(grouping):
            continue
        for name, names in grouping.items() if isinstance(grouping, Mapping) else [("", ())]:
            split = splits.get(name)
            if split is None or len(names) != split.size:
                raise DataError(
                    received=f"groups[{by!r}] of {len(names)} names for the split {name!r}",
                    expected="a name for each sample: "
                    + ", ".join(f"{key} {one.size}" for key, one in splits.items() if one),
                    fix='give them by split, {"validation": names, "test": names}',
                )
    return dict(groups)


def names_of(groups: Mapping[str, Grouping], split: Split, name: str) -> dict[str, np.ndarray]:
    """Returns the group of each sample of a split, for each grouping that knows it.

    Args:
        groups: The task's groupings.
        split: The samples.
        name: Which split it is.

    Returns:
        Strings, (samples,), by the grouping's name.

    Raises:
        DataError: A function does not give a name for each sample.

    Example:
        >>> from tfopt.data import ArraySplit
        >>> split = ArraySplit(np.zeros((3, 2)), [0, 1, 1])
        >>> names_of({"odd": lambda x, y: y % 2}, split, "test")
        {'odd': array(['0', '1', '1'], dtype='<U21')}
    """
    found = {}
    for by, grouping in groups.items():
        if callable(grouping):
            parts = [_called(grouping, by, x, y) for x, y in split.batches(_BATCH)]
            found[by] = np.concatenate(parts).astype(str)
        elif name in grouping:
            found[by] = np.asarray(grouping[name]).astype(str)
    return found


def _called(function: Callable[[Arrays, Arrays], Names], by: str, x: Arrays, y: Arrays) -> Any:
    """What a function says of a batch."""
    try:
        names = np.asarray(function(x, y))
    except Exception as error:  # the user's own code: anything can come out of it
        raise DataError(
            received=f"groups[{by!r}], which raised {type(error).__name__}: {error}",
            expected="a function of a batch (x, y), as the task holds them, to a name a sample",
            fix="try it on the first samples of the data",
        ) from error
    if names.shape != (length(x),):
        raise DataError(
            received=f"groups[{by!r}], which gave names of shape {names.shape} for {length(x)} "
            "samples",
            expected=f"shape ({length(x)},)",
            fix="return one name for each sample of the batch",
        )
    return names
