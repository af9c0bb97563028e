"""What takes long to make, kept on disk under the checksum of all that it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import Any

VARIABLE = "TFOPT_CACHE"
"""Names the directory for who passes none: a technique in a recipe knows no paths."""

_MADE_BY = ("tfopt", "tensorflow", "tf_keras", "tensorflow-model-optimization")
_VERSION = 4  # of what files hold
_IS_OFF = ContextVar("_IS_OFF", default=False)


class CorruptCacheWarning(UserWarning):
    """A file of the cache cannot be read: what it held is made again."""


def directory(cache: str | os.PathLike[str] | None) -> Path | None:
    """Returns where things are kept: what is given, else what `TFOPT_CACHE` names, if any."""
    named = cache if cache is not None else os.environ.get(VARIABLE)
    return Path(named) if named and not _IS_OFF.get() else None


@contextlib.contextmanager
def off() -> Iterator[None]:
    """Lets everything be made again, whatever `TFOPT_CACHE` says."""
    token = _IS_OFF.set(True)
    try:
        yield
    finally:
        _IS_OFF.reset(token)


def key(**parts: Any) -> str:
    """Returns a name for what depends on some parts, and on the versions of the packages.

    Args:
        parts: JSON values: checksums of the weights and the data, and settings.

    Example:
        >>> key(weights="ab", strengths=(0.5,)) == key(strengths=(0.5,), weights="ab")
        True
    """
    made_by = [_VERSION, *map(version, _MADE_BY)]
    text = json.dumps({"made_by": made_by, **parts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def warn_of(path: Path, error: Exception) -> None:
    """Says that something in the cache cannot be read, and is made again."""
    warnings.warn(
        f"{path} cannot be read ({type(error).__name__}: {error}): it is made again and written "
        "anew.",
        CorruptCacheWarning,
        stacklevel=3,
    )
