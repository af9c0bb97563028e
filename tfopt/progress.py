"""Progress bars on long work: on a terminal, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def shown() -> bool:
    """Returns whether progress is drawn: only if a person is looking, so that logs stay readable.

    Example:
        >>> shown() == sys.stderr.isatty()
        True
    """
    return sys.stderr is not None and sys.stderr.isatty()


def bar(
    items: Iterable[Item], label: str, *, total: int | None = None, unit: str = "it"
) -> Iterator[Item]:
    """Yields the items, drawing on stderr how many are done.

    Args:
        items: What to go through.
        label: What is being done, such as `"Reading mnist"`.
        total: How many items there are, if `len` cannot tell.
        unit: What an item is called.

    Example:
        >>> list(bar(range(3), "Counting"))
        [0, 1, 2]
    """
    yield from tqdm(
        items, desc=label, total=total, unit=unit, leave=False, disable=not shown(), file=sys.stderr
    )
