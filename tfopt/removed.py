"""Settings that name layers which an earlier step of a chain has removed whole."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tfopt.target import Target
from tfopt.technique import Selection, Skipped, Technique
from tfopt.tflite.naming import seen_through

if TYPE_CHECKING:
    import tf_keras

_OF_TECHNIQUES = ("only", "skip", "keep_int8", "features")
_OF_TARGETS = ("keep_float", "keep_int16", "keep_int8")


class RemovedLayerWarning(UserWarning):
    """A setting names a layer that an earlier step has removed whole."""


@dataclasses.dataclass(frozen=True)
class Left:
    """What is left of a technique without the names of layers that are gone.

    Args:
        technique: The technique; None if it was to touch only layers that are gone.
        named: Its settings as they were, where they named such a layer.
        skipped: The layers that are gone.
    """

    technique: Technique | None
    named: dict[str, Any]
    skipped: tuple[Skipped, ...]

    def asked(self, applied: Technique) -> Technique:
        """Returns a technique as the user wrote it, whose names the user's own model has."""
        return dataclasses.replace(applied, **self.named)

    def told(self, selection: Selection) -> Selection:
        """Returns what a technique touched and left alone, with the layers that are gone."""
        return Selection(selection.touched, (*selection.skipped, *self.skipped))


class Names:
    """What the settings of a chain may call layers: as the models do that it begins with.

    Args:
        models: The user's, and a student that takes its place.
    """

    def __init__(self, *models: tf_keras.Model) -> None:
        self._kinds = {name: kind for model in models for name, kind in _kinds(model).items()}
        self._parts = {name for model in models for name in _parts(model)}

    def left(self, technique: Technique, model: tf_keras.Model) -> Left:
        """Returns a technique without the names of layers that a model no longer has.

        Args:
            technique: As the user wrote it.
            model: What earlier steps have made.
        """
        gone = self._kinds.keys() - _kinds(model).keys()
        named: dict[str, Any] = {}
        fewer: dict[str, Any] = {}
        skipped: list[Skipped] = []
        for field in _OF_TECHNIQUES:
            value: Any = getattr(technique, field, None)
            missing = [name for name in _named(value) if name in gone]
            if missing:
                named[field] = value
                fewer[field] = tuple(one for one in value if _name(one) not in missing)
                reason = f"named in {field}, and an earlier step has left no such layer"
                skipped += [Skipped(name, self._kinds[name], reason) for name in missing]
        if fewer.get("only") == ():
            return Left(None, named, tuple(skipped))
        return Left(dataclasses.replace(technique, **fewer), named, tuple(skipped))

    def target_left(
        self, target: Target, model: tf_keras.Model
    ) -> tuple[Target, tuple[RemovedLayerWarning, ...]]:
        """Returns a target without the names of layers that a model no longer has, and these.

        Args:
            target: As the user wrote it.
            model: What earlier steps have made.
        """
        gone = self._parts - _parts(model)
        fewer: dict[str, Any] = {}
        told = []
        for field in _OF_TARGETS:
            names = getattr(target, field)
            missing = [name for name in names if name in gone]
            if missing:
                fewer[field] = tuple(name for name in names if name not in gone)
                told.append(
                    RemovedLayerWarning(
                        f"{', '.join(missing)}: named in {field} of the target, and a step has "
                        "left no such layer"
                    )
                )
        return dataclasses.replace(target, **fewer), tuple(told)


def untouched(technique: Technique, model: tf_keras.Model) -> Selection:
    """Says of each layer of a model that a technique which is left with none leaves it alone."""
    reason = f"not named in only={technique.only!r}"  # type: ignore[attr-defined]
    kinds = ((layer.name, type(layer).__name__) for layer in model.layers)
    skipped = (Skipped(name, kind, reason) for name, kind in kinds if kind != "InputLayer")
    return Selection((), tuple(skipped))


def _kinds(model: tf_keras.Model) -> dict[str, str]:
    """What `only` and `skip` may call layers, by name or by class, with the class."""
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    return kinds | {kind: kind for kind in kinds.values()}


def _parts(model: tf_keras.Model) -> set[str]:
    """What a target may call layers."""
    return {seen_through(layer).name for layer in model._flatten_layers()} - {model.name}


def _named(value: Any) -> list[str]:
    """The names of layers in a setting, if it has any."""
    names = map(_name, value) if isinstance(value, tuple) else ()
    return [name for name in names if isinstance(name, str)]


def _name(one: Any) -> Any:
    """A layer's name, or of a pair (the teacher's layer, the student's) the student's."""
    return one[1] if isinstance(one, tuple) and len(one) == 2 else one
