"""Settings as JSON values that change with what they do: what the keys of a cache are made of."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import sysconfig
import types
import uuid
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

_LIBRARIES = tuple(map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")))
_NAMES: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def fingerprint(value: Any, told: set[int] | None = None) -> Any:
    """Returns a setting as JSON values that change with what it does; in doubt, with each process.

    A function is its code, with all that it reads: defaults, captured and global values, and the
    functions among them.

    Args:
        value: The setting: a function, an array, a Keras object, or plain values of these.
        told: The functions that are told of already, by their ids: they may read each other.

    Example:
        >>> def scaled(factor):
        ...     return lambda images: images * factor
        >>> fingerprint(scaled(2)) == fingerprint(scaled(2))
        True
        >>> fingerprint(scaled(2)) == fingerprint(scaled(3))
        False
    """
    told = set() if told is None else told
    if isinstance(value, Mapping):
        return {str(name): fingerprint(part, told) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [fingerprint(part, told) for part in value]
    if isinstance(value, np.ndarray | tf.Tensor | tf.Variable):
        array = np.asarray(value)
        return [str(array.dtype), str(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    if inspect.isclass(value) or inspect.isfunction(value):
        return _of_code(value, told)
    if inspect.ismethod(value):
        return fingerprint([value.__func__, value.__self__], told)
    if isinstance(value, functools.partial):
        return fingerprint([value.func, value.args, value.keywords], told)
    if inspect.ismodule(value):
        return value.__name__
    if hasattr(value, "get_config"):
        weights = list(getattr(value, "trainable_weights", ()))
        return [type(value).__qualname__, value.get_config(), fingerprint(weights)]
    return _of_this_process(value) if type(value).__repr__ is object.__repr__ else str(value)


def _of_code(value: Any, told: set[int]) -> Any:
    """A class or function: what it does, and the values that it reads."""
    name = [value.__module__, value.__qualname__]
    if _is_installed(value) or id(value) in told:
        return name
    if inspect.isclass(value):
        return [*name, _of_this_process(value)]
    told.add(id(value))
    codes = _nested(value.__code__)
    names = {name for code in codes for name in code.co_names} & value.__globals__.keys()
    read = {name: value.__globals__[name] for name in sorted(names)}
    captured = [_content(cell) for cell in value.__closure__ or ()]
    does = [_does(code) for code in codes]
    given = [value.__defaults__, value.__kwdefaults__, captured, read]
    return [*name, does, fingerprint(given, told)]


def _content(cell: types.CellType) -> Any:
    """The value of a captured name, in a list of its own; an empty one if it has none by now."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def _of_this_process(value: Any) -> str:
    """A name that no other object has, in no process; not even one at the same address, later."""
    try:
        return _NAMES.setdefault(value, uuid.uuid4().hex)
    except TypeError:  # cannot be hashed, or referred to weakly
        return uuid.uuid4().hex


def _is_installed(value: Any) -> bool:
    """Whether a class or function is a library's, where it does what its name says."""
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    return bool(file) and str(file).startswith(_LIBRARIES) and "<" not in value.__qualname__


def _nested(code: types.CodeType) -> list[types.CodeType]:
    """The code of a function, and of the functions inside it."""
    inside = (part for part in code.co_consts if inspect.iscode(part))
    return [code, *(nested for part in inside for nested in _nested(part))]


def _does(code: types.CodeType) -> list[str]:
    """What a code does, but for the functions inside it."""
    values = [part for part in code.co_consts if not inspect.iscode(part)]
    return [code.co_code.hex(), str(code.co_names), str(values)]
