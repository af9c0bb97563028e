"""Records out of JSON values, those of earlier versions too."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

Record = TypeVar("Record")


def read(kind: type[Record], row: dict[str, Any]) -> Record:
    """Makes a record of what `dataclasses.asdict` made of one and JSON has kept.

    Keys that are no field, such as figures written for the reader, are left out; fields that an
    earlier version did not have take their defaults. A number that is None is NaN.

    Args:
        kind: A dataclass of plain values, records, and tuples and dicts of them.
        row: Its JSON values.

    Raises:
        KeyError: A field without a default is missing.

    Example:
        >>> from tfopt.report import Score
        >>> read(Score, {"value": 0.9, "low": 0.8, "high": 0.95, "samples": 100, "more": 1}).samples
        100
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in row or _is_needed(field):
            values[field.name] = _value(hints[field.name], row[field.name])
    return kind(**values)


def plain(value: Any) -> Any:
    """Returns what `dataclasses.asdict` made with None for what JSON has no number for.

    Python would write `Infinity` and `NaN`, which no other reader of JSON takes.

    Args:
        value: Dicts, lists and tuples of plain values.

    Example:
        >>> plain({"spent": float("inf"), "turns": (1.0, float("nan"))})
        {'spent': None, 'turns': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_needed(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(hint: Any, value: Any) -> Any:
    """A JSON value as what its field holds."""
    if value is None:
        return math.nan if hint is float else None  # see `plain`
    if isinstance(hint, types.UnionType):
        hint = next(part for part in hint.__args__ if part is not type(None))
    if dataclasses.is_dataclass(hint):
        return read(hint, value)  # type: ignore[arg-type]
    if typing.get_origin(hint) is tuple:
        return tuple(_value(typing.get_args(hint)[0], item) for item in value)
    return value
