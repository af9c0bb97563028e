"""What takes long to make, kept on disk under the checksum of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

VARIABLE = "TFOPT_CACHE"
"""Names the directory for who passes none: a technique in a recipe knows no paths."""

_VERSION = 3  # of what files hold and how it is made


class CorruptCacheWarning(UserWarning):
    """A file of the cache cannot be read: what it held is made again."""


def directory(cache: str | os.PathLike[str] | None) -> Path | None:
    """Returns where things are kept: what is given, else what `TFOPT_CACHE` names, if any."""
    named = cache if cache is not None else os.environ.get(VARIABLE)
    return Path(named) if named else None


def key(**parts: Any) -> str:
    """Returns a name for what depends on some parts.

    Args:
        parts: JSON values: checksums of the weights and the data, and settings.

    Example:
        >>> key(weights="ab", strengths=(0.5,)) == key(strengths=(0.5,), weights="ab")
        True
    """
    text = json.dumps({"version": _VERSION, **parts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def warn_of(path: Path, error: Exception) -> None:
    """Says that something in the cache cannot be read, and is made again."""
    warnings.warn(
        f"{path} cannot be read ({type(error).__name__}: {error}): it is made again and written "
        "anew.",
        CorruptCacheWarning,
        stacklevel=3,
    )
