"""Measured sensitivities on disk."""

from __future__ import annotations

import json
from pathlib import Path

from tfopt import cache
from tfopt.files import write_file
from tfopt.sensitivity.records import Sensitivity


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
        cache.warn_of(path, error)
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
