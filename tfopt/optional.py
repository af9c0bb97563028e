"""Packages that only some parts need: imported where used, or asked for by name."""

from __future__ import annotations

import importlib
from typing import Any

from tfopt.errors import MissingPackageError


def require(module: str, *, extra: str, purpose: str) -> Any:
    """Imports a module of an optional package.

    Args:
        module: Its name.
        extra: The extra of tfopt that installs it.
        purpose: What it is needed for.

    Raises:
        MissingPackageError: It is not installed, or does not import.

    Example:
        >>> require("json", extra="none", purpose="an example").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            received=f"no module {module} ({error})",
            expected=f"it to be installed, for {purpose}",
            fix=f"pip install 'tfopt[{extra}]'",
        ) from error
