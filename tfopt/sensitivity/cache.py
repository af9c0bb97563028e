"""Measured sensitivities on disk, each under the checksum of what it was measured on."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from tfopt.files import write_file
from tfopt.sensitivity.records import Sensitivity

VARIABLE = "TFOPT_CACHE"
"""Names the directory for who passes none: a technique in a recipe knows no paths."""

_VERSION = 2  # of what a file holds and how it is measured


class CorruptCacheWarning(UserWarning):
    """A file of the cache cannot be read: what it held is measured again."""


def directory(cache: str | os.PathLike[str] | None) -> Path | None:
    """Returns where measurements are kept: what is given, else what `TFOPT_CACHE` names, if any."""
    named = cache if cache is not None else os.environ.get(VARIABLE)
    return Path(named) if named else None


def key(**parts: Any) -> str:
    """Returns a name for what a measurement depends on.

    Args:
        parts: JSON values: checksums of the weights and the data, and settings.

    Example:
        >>> key(weights="ab", strengths=(0.5,)) == key(strengths=(0.5,), weights="ab")
        True
    """
    text = json.dumps({"version": _VERSION, **parts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load(folder: Path | None, name: str) -> Sensitivity | None:
    """Returns what is kept under a name, None if there is nothing.

    Warns:
        CorruptCacheWarning: There is a file that holds something else.
    """
    if folder is None:
        return None
    path = _path(folder, name)
    try:
        return Sensitivity.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        warnings.warn(
            f"{path} cannot be read ({type(error).__name__}: {error}): it is measured again and "
            "written anew.",
            CorruptCacheWarning,
            stacklevel=3,
        )
        return None


def store(folder: Path | None, name: str, sensitivity: Sensitivity) -> None:
    """Keeps a measurement under a name, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    if folder is not None:
        write_file(_path(folder, name), json.dumps(sensitivity.to_dict(), indent=1) + "\n")


def _path(folder: Path, name: str) -> Path:
    return folder / f"sensitivity-{name}.json"
