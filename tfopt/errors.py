"""The errors of tfopt: each says what was received, what was expected and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class TfoptError(Exception):
    """The root of every error tfopt raises on purpose.

    Args:
        received: What came in, with its value.
        expected: What would have been accepted.
        fix: What the reader can do about it.

    Example:
        >>> print(SettingError(received="sparsity=1.5", expected="0 <= sparsity < 1",
        ...                    fix="pass the share of weights to remove, such as 0.5"))
        Received sparsity=1.5; expected 0 <= sparsity < 1. Fix: pass the share of weights to remove, such as 0.5.
    """  # noqa: E501 - a doctest's expected line cannot be wrapped

    def __init__(self, *, received: str, expected: str, fix: str) -> None:
        self.received, self.expected, self.fix = received, expected, fix
        super().__init__(f"Received {received}; expected {expected}. Fix: {fix.rstrip('.')}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets an error cross from one process to another, which calls for positional arguments."""
        return _rebuilt, (type(self), self.received, self.expected, self.fix)


class SettingError(TfoptError, ValueError):
    """A setting of a technique, target, task or recipe is out of its range."""


class DataError(TfoptError, ValueError):
    """Data does not fit the model, or cannot be used: shape, dtype, classes, NaN, empty."""


class ModelError(TfoptError, ValueError):
    """A model cannot be loaded, traced or translated."""


class ConversionError(TfoptError, RuntimeError):
    """The converter failed, or the file it wrote is not what the target asks for."""


class FloatOpsError(ConversionError):
    """A file that should be integer only computes in floating point somewhere."""


class InterpreterError(TfoptError, RuntimeError):
    """A `.tflite` cannot be read or run by the interpreter."""


class TechniqueError(TfoptError, RuntimeError):
    """A technique cannot be applied to this model, or did not do what it claims."""


class LostGainError(TechniqueError):
    """A step undid what an earlier step had gained, such as its sparsity."""


class BudgetError(TfoptError, RuntimeError):
    """Nothing that was found keeps a budget of the target."""


class OutputError(TfoptError, OSError):
    """The output cannot be written where it was asked for."""


class OutputExistsError(OutputError, FileExistsError):
    """The output directory already holds a result."""


class MissingPackageError(TfoptError, ImportError):
    """An optional package is needed and not installed."""


def _rebuilt(cls: type[TfoptError], received: str, expected: str, fix: str) -> TfoptError:
    return cls(received=received, expected=expected, fix=fix)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns the valid names as a sentence, the one most like `name` first.

    Example:
        >>> nearest("MagnitudePrunning", ["WeightClustering", "MagnitudePruning"])
        "'MagnitudePruning' is nearest; one of MagnitudePruning, WeightClustering"
    """
    names = sorted(valid)
    match = difflib.get_close_matches(name, names, n=1)
    choice = "one of " + ", ".join(names)
    return f"{match[0]!r} is nearest; {choice}" if match else choice
