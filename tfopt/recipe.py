"""How a result was made, as JSON that makes it again."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfopt.errors import SettingError, nearest
from tfopt.settings import check_counts
from tfopt.target import Target
from tfopt.technique import Technique

# The one table of names to classes: a new technique is a file and a line here.
TECHNIQUES: Mapping[str, str] = {
    "ChannelPruning": "tfopt.techniques.channel_pruning",
    "LowRank": "tfopt.techniques.low_rank",
    "Distillation": "tfopt.techniques.distillation",
    "MagnitudePruning": "tfopt.techniques.magnitude_pruning",
    "EqualizeChannels": "tfopt.techniques.equalize_channels",
    "WeightClustering": "tfopt.techniques.weight_clustering",
    "RoundWeights": "tfopt.techniques.round_weights",
    "QuantizationAware": "tfopt.techniques.quantization_aware",
    "CorrectBias": "tfopt.techniques.correct_bias",
}

FILE_NAME = "recipe.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The steps, the target and the seed of a result, and what it was made from.

    Args:
        techniques: The steps, in order.
        target: What the last step was converted for.
        seed: Seed of every random choice.
        made_from: Facts of the run as JSON values: checksums of model, data and result, and the
            versions. They are checked by `tfopt.reproduce`; they change nothing.

    Raises:
        SettingError: The seed is no whole number, or below 0.

    Example:
        >>> recipe = Recipe(techniques=(), target=Target.int8(), seed=7)
        >>> Recipe.from_dict(recipe.to_dict()) == recipe
        True
    """

    techniques: tuple[Technique, ...]
    target: Target
    seed: int = 0
    made_from: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_counts(self, seed=0)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return {
            "techniques": [technique_to_dict(technique) for technique in self.techniques],
            "target": _changed_fields(self.target),
            "seed": self.seed,
            "made_from": self.made_from,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Recipe:
        """Reads what `to_dict` wrote.

        Raises:
            SettingError: A key or a technique is unknown, or a setting is out of its range.
        """
        record = _mapping(record, "the recipe")
        _refuse_unknown(record, {"techniques", "target", "seed", "made_from"}, "the recipe")
        target = _mapping(record.get("target"), "target")
        _refuse_unknown(target, {field.name for field in dataclasses.fields(Target)}, "target")
        if "numerics" not in target:
            raise SettingError(
                received="a recipe whose target names no numerics",
                expected='a target such as {"numerics": "int8", "input_type": "int8"}',
                fix="add the numerics",
            )
        return cls(
            techniques=tuple(map(technique_from_dict, _list(record.get("techniques", [])))),
            target=Target(**target),
            seed=record.get("seed", 0),
            made_from=dict(_mapping(record.get("made_from", {}), "made_from")),
        )

    def to_json(self) -> str:
        """The recipe as text, the same for the same recipe."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Reads a recipe file, or the `recipe.json` of a result's directory.

        Raises:
            SettingError: The file is missing, is no JSON, or is no recipe.
        """
        file = Path(path)
        file = file / FILE_NAME if file.is_dir() else file
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingError(
                received=f"{str(file)!r} ({error})",
                expected="a recipe in JSON, as result.save() writes it",
                fix="give the path of a recipe.json, or of the directory that holds one",
            ) from error
        return cls.from_dict(record)


def technique_to_dict(technique: Technique) -> dict[str, Any]:
    """A technique as its name and the settings that are not defaults."""
    return {"technique": type(technique).__name__, **_changed_fields(technique)}


def technique_from_dict(record: Mapping[str, Any]) -> Technique:
    """Reads what `technique_to_dict` wrote.

    Raises:
        SettingError: The technique or one of its settings is unknown (the nearest valid name is
            given), or a setting is out of its range.
    """
    settings = dict(_mapping(record, "a technique"))
    return _technique(str(settings.pop("technique", "")), settings)


def parse_technique(text: str) -> Technique:
    """Reads a technique written as in Python, such as `MagnitudePruning(sparsity=0.5)`.

    The text is parsed, never executed: a name, and settings that are literals.

    Raises:
        SettingError: The text is not of that form, or names something unknown.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return _technique(node.id, {})
        if not isinstance(node, ast.Call) or node.args or not isinstance(node.func, ast.Name):
            raise SyntaxError("not a name with settings")
        settings = {word.arg or "**": ast.literal_eval(word.value) for word in node.keywords}
    except (SyntaxError, ValueError) as error:
        raise SettingError(
            received=f"the step {text!r}",
            expected="a technique with its settings, such as MagnitudePruning(sparsity=0.5)",
            fix="name every setting and give it a plain value",
        ) from error
    return _technique(node.func.id, settings)


def technique_class(name: str) -> type[Technique]:
    """The class of a technique by its name: one of tfopt's, or of a module that is imported.

    Raises:
        SettingError: There is none of that name.
    """
    if name in TECHNIQUES:
        return getattr(importlib.import_module(TECHNIQUES[name]), name)
    others = {kind.__name__: kind for kind in _others(Technique)}
    if name not in others:
        raise SettingError(
            received=f"the technique {name!r}",
            expected=nearest(name, [*TECHNIQUES, *others]),
            fix="correct the name; of a technique of your own, import the module first",
        )
    return others[name]


def _others(kind: type[Any]) -> Iterator[type[Technique]]:
    """The classes of techniques that are not tfopt's."""
    for below in kind.__subclasses__():
        if not below.__module__.startswith("tfopt."):
            yield below
        yield from _others(below)


def _technique(name: str, settings: dict[str, Any]) -> Technique:
    """Builds a technique from JSON or literal values."""
    cls = technique_class(name)
    _refuse_unknown(settings, {field.name for field in dataclasses.fields(cls)}, name)
    return cls(**{key: _tuples(value) for key, value in settings.items()})


def _changed_fields(record: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, as JSON values."""
    fields = ((field, getattr(record, field.name)) for field in dataclasses.fields(record))
    return {
        field.name: list(value) if isinstance(value, tuple) else value
        for field, value in fields
        if value != field.default
    }


def _tuples(value: Any) -> Any:
    """JSON has lists where the frozen records have tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _mapping(record: Any, what: str) -> Mapping[str, Any]:
    """Refuses a JSON value that is no object."""
    if isinstance(record, Mapping):
        return record
    raise SettingError(
        received=f"{what} as {type(record).__name__}: {record!r}",
        expected="a JSON object",
        fix="compare with a recipe.json that result.save() wrote",
    )


def _list(record: Any) -> list[Any]:
    """Refuses techniques that are no list."""
    if isinstance(record, list | tuple):
        return list(record)
    raise SettingError(
        received=f"techniques as {type(record).__name__}: {record!r}",
        expected="a JSON list of objects",
        fix="compare with a recipe.json that result.save() wrote",
    )


def _refuse_unknown(record: Mapping[str, Any], valid: set[str], what: str) -> None:
    """Refuses keys that nothing reads, so that no setting is dropped without a word."""
    for key in record:
        if key not in valid:
            raise SettingError(
                received=f"the key {key!r} in {what}",
                expected=nearest(key, valid),
                fix="correct or remove the key",
            )
