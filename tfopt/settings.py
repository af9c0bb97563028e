"""Checks of settings, which are fields of a frozen dataclass or arguments of a function."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

from tfopt.errors import SettingError, nearest


def check_at_least(least: float, **values: float) -> None:
    """Refuses what is no number, or too small a one.

    Args:
        least: The smallest that goes.
        values: Arguments, by name.

    Raises:
        SettingError: One is smaller, or something else.
    """
    for name, value in values.items():
        if not _is_number(value) or not value >= least:
            raise _refusal(name, value, f"a number, at least {least:g}")


def check_positive(fix: str, **values: float) -> None:
    """Refuses what is no finite number above zero.

    Args:
        fix: A value that would do.
        values: Settings or arguments, by name.

    Raises:
        SettingError: One is zero or less, infinite, or something else.

    Example:
        >>> check_positive("4 is usual", temperature=2.0)
    """
    for name, value in values.items():
        if not _is_number(value) or not 0 < value < math.inf:
            raise SettingError(received=f"{name}={value!r}", expected="a number above 0", fix=fix)


def check_share(fix: str, *, whole: bool = True, **values: float) -> None:
    """Refuses what is no number from 0 to 1.

    Args:
        fix: A value that would do.
        whole: Whether 1 itself, all of it, goes.
        values: Settings or arguments, by name.

    Raises:
        SettingError: One is outside, or something else.

    Example:
        >>> check_share("try 0.5", weight=1.0)
    """
    for name, value in values.items():
        if not _is_number(value) or not 0 <= value <= 1 or (value == 1 and not whole):
            raise SettingError(
                received=f"{name}={value!r}",
                expected="a share from 0 to 1" if whole else f"0 <= {name} < 1",
                fix=fix,
            )


def check_whole(least: int, **values: int) -> None:
    """Refuses what is no whole number, or too small a one.

    Args:
        least: The smallest that goes.
        values: Arguments, by name.

    Raises:
        SettingError: One is smaller, or something else.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise _refusal(name, value, f"a whole number, at least {least}")


def check_choices(settings: Any, **choices: Any) -> None:
    """Refuses settings that are none of their choices.

    Args:
        settings: A technique or target, in its `__post_init__`.
        choices: For each field the `Literal` that lists them.

    Raises:
        SettingError: A field is something else; the choice with the most similar name is proposed.
    """
    for field, choice in choices.items():
        value = getattr(settings, field)
        if value not in get_args(choice):
            raise _refusal(field, value, nearest(str(value), get_args(choice)))


def check_counts(settings: Any, **least: int) -> None:
    """Refuses settings that are no whole numbers, or too small ones.

    Args:
        settings: A technique or target, in its `__post_init__`.
        least: For each field the smallest number.

    Raises:
        SettingError: A field is something else.
    """
    for field, smallest in least.items():
        check_whole(smallest, **{field: getattr(settings, field)})


def check_flags(settings: Any, *fields: str) -> None:
    """Refuses settings that are neither True nor False.

    Args:
        settings: A technique or target, in its `__post_init__`.
        fields: Those to check.

    Raises:
        SettingError: A field is something else.
    """
    for field in fields:
        value = getattr(settings, field)
        if not isinstance(value, bool):
            raise _refusal(field, value, "True or False")


def check_bits(settings: Any) -> None:
    """Refuses a setting `bits` that a weight in a file cannot have.

    Args:
        settings: A technique, in its `__post_init__`.

    Raises:
        SettingError: It is neither 8 nor 4.
    """
    if settings.bits not in (4, 8) or isinstance(settings.bits, bool):
        raise SettingError(
            received=f"bits={settings.bits!r}",
            expected="8 or 4, the bits of a weight in the file",
            fix="4 goes with Target.int4_weights(), 8 with every other target",
        )


def check_names(settings: Any, *fields: str) -> None:
    """Refuses settings that are no tuples of names; lists, which JSON has, become tuples.

    Args:
        settings: A technique, in its `__post_init__`.
        fields: Those to check. One whose default is None may be None.

    Raises:
        SettingError: A setting is something else, or holds something else than strings.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for field in fields:
        value = getattr(settings, field)
        if isinstance(value, list):
            object.__setattr__(settings, field, value := tuple(value))
        if value is None and defaults[field] is None:
            continue
        if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
            named = f"({value!r},)" if isinstance(value, str) else "('conv',)"
            raise SettingError(
                received=f"{field}={value!r}",
                expected="a tuple of layer names or class names",
                fix=f"write {field}={named}",
            )


def _is_number(value: Any) -> bool:
    """Whether a value is a number and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refusal(name: str, value: Any, expected: str) -> SettingError:
    return SettingError(
        received=f"{name}={value!r}", expected=expected, fix=f"leave {name} out for the default"
    )
