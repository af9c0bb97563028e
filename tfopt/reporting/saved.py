"""Reads the directory of a result, and refuses files that do not belong together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import types
import typing
from pathlib import Path
from typing import Any

from tfopt.errors import SettingError
from tfopt.recipe import FILE_NAME as RECIPE_FILE
from tfopt.report import Report

REPORT_FILE = "report.json"
MODEL_FILE = "model.tflite"
PAGE_FILE = "report.html"
CARD_FILE = "model_card.md"


@dataclasses.dataclass(frozen=True)
class SavedResult:
    """What the directory of a result holds.

    Args:
        name: The directory's name.
        report: What was measured.
        recipe: How it was made, as JSON values: reading the techniques would need TensorFlow.
        tflite: The file.
    """

    name: str
    report: Report
    recipe: dict[str, Any]
    tflite: bytes

    @property
    def sha256(self) -> str:
        """The file's SHA-256."""
        return hashlib.sha256(self.tflite).hexdigest()


def read_result(directory: str | os.PathLike[str]) -> SavedResult:
    """Reads what `result.save()` wrote.

    Args:
        directory: The result's directory.

    Raises:
        SettingError: It is no directory, a file is missing or cannot be read, or the file for the
            device is not the one that the recipe and the report speak of.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise SettingError(
            received=f"{os.fspath(directory)!r}, which is no directory",
            expected="the directory of a result, as result.save() writes it",
            fix="give that directory",
        )
    report = _report(folder / REPORT_FILE)
    recipe = _recipe(folder / RECIPE_FILE)
    result = SavedResult(folder.resolve().name, report, recipe, _bytes(folder / MODEL_FILE))
    _check(result, folder)
    return result


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(
            received=f"a result without a readable {path.name}: {str(path)!r} "
            f"({error.strerror or error})",
            expected=f"{REPORT_FILE}, {RECIPE_FILE} and {MODEL_FILE} side by side",
            fix="restore the file, or make the result again",
        ) from error


def _json(path: Path, what: str) -> Any:
    content = _bytes(path)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, what, str(error)) from error


def _unreadable(path: Path, what: str, why: str) -> SettingError:
    return SettingError(
        received=f"{str(path)!r}, which is no {what} ({why})",
        expected=f"a {what} in JSON, as result.save() writes it",
        fix="restore the file, or make the result again",
    )


def _report(path: Path) -> Report:
    """Reads a report, whatever stands in its place."""
    record = _json(path, "report")
    try:
        report = Report.from_dict(record)
        if not report.steps:
            raise ValueError("it has no steps")
        _check_types(report, "report")
        if any(min(row.bytes, row.deflated_bytes, row.latency_ms) <= 0 for row in report.steps):
            raise ValueError("a step has a file or a latency of nothing")
    except KeyError as error:
        raise _unreadable(path, "report", f"it has no {error}") from error
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise _unreadable(path, "report", str(error)) from error
    return report


def _check_types(value: Any, place: str) -> None:
    """Refuses a record whose fields do not hold what they say: text for a number, and such."""
    for name, hint in typing.get_type_hints(type(value)).items():
        if name in {field.name for field in dataclasses.fields(value)}:
            _check_type(getattr(value, name), hint, f"{place}.{name}")


def _check_type(value: Any, hint: Any, place: str) -> None:
    kinds = hint.__args__ if isinstance(hint, types.UnionType) else (hint,)
    for kind in kinds:
        plain = typing.get_origin(kind) or kind
        whole = plain is float and isinstance(value, int) and not isinstance(value, bool)
        is_kind = isinstance(value, plain) and isinstance(value, bool) == (plain is bool)
        if not (whole or is_kind):
            continue
        if dataclasses.is_dataclass(value):
            _check_types(value, place)
        parts = (
            value.items() if isinstance(value, dict) else enumerate(value) if plain is tuple else ()
        )
        for key, item in parts:
            _check_type(item, typing.get_args(kind)[plain is dict], f"{place}[{key!r}]")
        return
    raise ValueError(f"{place} is {value!r:.60}")


def _recipe(path: Path) -> dict[str, Any]:
    """Reads a recipe without the classes it names."""
    record = _json(path, "recipe")
    kinds = {"techniques": list, "target": dict, "seed": int, "made_from": dict}
    if not isinstance(record, dict):
        raise _unreadable(path, "recipe", f"it is a JSON {type(record).__name__}")
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
            raise _unreadable(path, "recipe", f"{key} is {record.get(key)!r}")
    for key in ("source", "environment"):
        if not isinstance(record["made_from"].get(key) or {}, dict):
            raise _unreadable(path, "recipe", f"{key} is {record['made_from'][key]!r:.60}")
    for step in record["techniques"]:
        if not isinstance(step, dict) or not isinstance(step.get("technique"), str):
            raise _unreadable(path, "recipe", f"{step!r} is no technique")
    return record


def _check(result: SavedResult, folder: Path) -> None:
    """Refuses a file that others of the result do not speak of."""
    named = result.recipe["made_from"].get("tflite_sha256")
    if named is not None and named != result.sha256:
        raise SettingError(
            received=f"{str(folder / MODEL_FILE)!r} with the SHA-256 {result.sha256}",
            expected=f"{named}, as {RECIPE_FILE} names it",
            fix="restore the file: it was changed after it was saved, and the report is not of it",
        )
    told = result.report.steps[-1].bytes
    if told != len(result.tflite):
        raise SettingError(
            received=f"{str(folder / MODEL_FILE)!r} of {len(result.tflite):,} bytes",
            expected=f"{told:,} bytes, as the last step of {REPORT_FILE} says",
            fix=f"restore {REPORT_FILE}: it was changed, or is of another result",
        )
