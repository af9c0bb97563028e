"""Names of classes as the lines of a label file."""

from __future__ import annotations

from collections.abc import Sequence


def clean(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    r"""Makes a line of each name: readers of label files know no escapes.

    Line breaks, tabs and what cannot be written become spaces; an empty name becomes the class's
    number, since an empty line may be dropped.

    Args:
        names: The names of the classes.

    Returns:
        The labels, and what was changed, in words.

    Example:
        >>> clean(["cat", "hot\ndog", ""])
        (('cat', 'hot dog', 'class 2'), ("class 1, 'hot\\ndog', is 'hot dog'", "class 2, '', is 'class 2'"))
    """  # noqa: E501 - a doctest's expected line cannot be wrapped
    labels = tuple(_line(name) or f"class {index}" for index, name in enumerate(names))
    told = tuple(
        f"class {index}, {name[:80]!r}, is {label[:80]!r}"
        for index, (name, label) in enumerate(zip(names, labels, strict=True))
        if name != label
    )
    return labels, told


def _line(name: str) -> str:
    """The name without what ends a line or cannot be encoded."""
    written = name.encode("utf-8", "replace").decode()
    # splitlines knows all of Unicode's line ends; control characters are no part of a name
    joined = " ".join(written.splitlines())
    kept = "".join(" " if ord(c) < 32 or 127 <= ord(c) < 160 else c for c in joined)
    return kept.strip()
