"""Whether what came out is right: outputs held against the Keras model's."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from coverage_parts import Cell
from tfopt.errors import TfoptError

SAME = 1e-3  # float32 in another order of operations, against the largest output
CLOSE = {"float32": SAME, "int8": 0.35, "int16x8": 0.1}
"""The largest error of a file, by its numerics: the root mean square against the outputs'."""

LOST_DB = 5.0
"""A layer that loses so much signal, and has no more left, computes something else."""

ROUNDED = 0.1
"""The largest error of one op in 8 bits, of the numbers that it reads."""

_WORDS = 70


class WrongResult(Exception):
    """Something ran through, and its result is not right."""


def outputs_of(model: Any, x: Any) -> list[np.ndarray]:
    """Returns a Keras model's outputs for some samples, flat, those of a dict by their names."""
    found = model(x, training=False)
    if isinstance(found, dict):
        found = [found[name] for name in sorted(found)]
    parts = found if isinstance(found, list | tuple) else [found]
    return [np.asarray(part, np.float32) for part in parts]


def largest_error(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Returns the largest difference in any output, against the output's largest value."""
    _check_shapes(ours, theirs)
    return max(
        float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6))
        for a, b in zip(ours, theirs, strict=True)
    )


def typical_error(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Returns the root mean square of the difference against the output's, the worst output's."""
    _check_shapes(ours, theirs)
    return max(
        float(np.sqrt(np.mean((a - b) ** 2)) / max(np.sqrt(np.mean(b**2)), 1e-6))
        for a, b in zip(ours, theirs, strict=True)
    )


def varying_error(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Returns the same against what of the outputs varies from sample to sample."""
    _check_shapes(ours, theirs)
    return max(
        float(np.sqrt(np.mean((a - b) ** 2)) / max(np.sqrt(np.mean((b - b.mean(0)) ** 2)), 1e-6))
        for a, b in zip(ours, theirs, strict=True)
    )


def require_close(what: str, error: float, limit: float) -> None:
    """Refuses an error above a limit, and one that is no number.

    Raises:
        WrongResult: It is.
    """
    if not error <= limit:
        raise WrongResult(f"wrong outputs: {what} is off by {error:.2g} (limit {limit:g})")


def cell_of_error(error: BaseException, details: str) -> Cell:
    """Returns the cell of an error.

    Args:
        error: What was raised.
        details: Its traceback.
    """
    if isinstance(error, WrongResult):
        return Cell("failed", shortened(str(error)), str(error))
    status = "refused" if isinstance(error, TfoptError) else "failed"
    first = str(error).strip().partition("\n")[0].removeprefix("Received ")
    note = f"{type(error).__name__}: {first}"
    return Cell(status, shortened(note), f"{type(error).__name__}: {error}\n\n{details}")  # type: ignore[arg-type]


def shortened(text: str) -> str:
    """Returns the beginning of a text, as much as a cell has room for."""
    return textwrap.shorten(text, _WORDS, placeholder="...")


def _check_shapes(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> None:
    shapes = [[tuple(array.shape) for array in side] for side in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise WrongResult(f"wrong outputs: shapes {shapes[0]} instead of {shapes[1]}")
