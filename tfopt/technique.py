"""The one abstraction every optimization implements."""

from __future__ import annotations

import abc
import dataclasses
import enum
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from tfopt.errors import SettingError

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A layer a technique leaves alone.

    Args:
        layer: The layer's name.
        kind: The layer's class name.
        reason: Why, in words a user can act on.
    """

    layer: str
    kind: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which layers of a model a technique touches, and which not: together, all of them.

    Args:
        touched: Names of the layers the technique changes.
        skipped: The others, each with its reason.
    """

    touched: tuple[str, ...]
    skipped: tuple[Skipped, ...]


class Stage(enum.IntEnum):
    """Where a technique stands among the steps. A later stage keeps what earlier ones gained.

    Training after sharing weights would part them again, and zeros made after quantization would
    move the ranges, so an earlier stage never follows a later one.
    """

    STRUCTURE = 10
    """Layers and channels are removed or factorised."""
    SPARSITY = 30
    """Weights become zero."""
    SCALING = 35
    """Channels are rescaled, the model's function staying the same: zeros stay, clusters do not."""
    SHARING = 40
    """Weights share values."""
    QUANTIZATION = 50
    """Weights are rounded to the numbers of the file."""
    CORRECTION = 60
    """What rounding did to the outputs is made up for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Technique(abc.ABC):
    """One way to make a Keras model smaller or faster. Its fields are its settings.

    A technique is a frozen dataclass whose fields hold JSON values (numbers, strings, booleans,
    None, tuples of them), so that a recipe can store it, checked in `__post_init__`.
    """

    stage: ClassVar[Stage]
    headline: ClassVar[tuple[str, ...]] = ()
    """The settings a report always shows, defaults included."""
    finishes: ClassVar[tuple[str, ...]] = ()
    """Techniques that can do nothing for layers which this one has touched."""

    @abc.abstractmethod
    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers would be touched, in well under a second, changing nothing.

        Raises:
            TechniqueError: The technique cannot work on this model as it is (its order among the
                steps is wrong, say), with the way out.
        """

    @abc.abstractmethod
    def apply(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """Returns an optimized model; the one given is left as it was.

        Args:
            model: A tf_keras functional model.
            task: The data, loss and seed to fine-tune or calibrate with.

        Raises:
            TechniqueError: The result does not hold what the technique claims.
        """

    def changed(self, model: tf_keras.Model, optimized: tf_keras.Model) -> Selection:
        """Says which layers were touched, now that it is done: by itself, what `select` says.

        Args:
            model: The model given.
            optimized: What was made of it.
        """
        return self.select(model)

    def begun_with(self, model: tf_keras.Model) -> tf_keras.Model:
        """Returns the model whose layers the next step finds: by itself, those of the one given."""
        return model

    @property
    def reads(self) -> tuple[str, ...]:
        """The paths among the settings: what these files hold decides about the result, too."""
        return ()

    @property
    def starts_over(self) -> bool:
        """Whether another model takes the place of the one that earlier steps have worked on."""
        return False

    @property
    def name(self) -> str:
        """The technique's name in reports and recipes: its class name."""
        return type(self).__name__

    @property
    def settings(self) -> str:
        """The headline and what is not a default, as one line: `sparsity=0.5, epochs=3`."""
        changed = [
            field.name
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        names = dict.fromkeys([*self.headline, *changed])
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def check_order(techniques: Sequence[Technique]) -> None:
    """Refuses, before anything is trained, an order in which a step undoes an earlier one.

    Raises:
        SettingError: A technique follows one of a later stage, or another model follows steps that
            are lost with theirs; the order that works is given. Or two of them quantize, or bring
            another model.
    """
    quantizing = [step.name for step in techniques if step.stage is Stage.QUANTIZATION]
    if len(quantizing) > 1:
        raise SettingError(
            received=f"{len(quantizing)} techniques that quantize: {', '.join(quantizing)}",
            expected="at most one, since a quantized model cannot be quantized again",
            fix=f"keep one; for longer training give {quantizing[0]} more epochs",
        )
    replacing = [step.name for step in techniques if step.starts_over]
    if len(replacing) > 1:
        raise SettingError(
            received=f"{len(replacing)} techniques that begin with another model: "
            f"{', '.join(replacing)}",
            expected="at most one, since nothing of the first would be left",
            fix="keep one, the last",
        )
    for place, technique in enumerate(techniques):
        if technique.starts_over and place:
            others = [step.name for step in techniques if step is not technique]
            raise SettingError(
                received=f"{technique.name} of another model after {techniques[place - 1].name}",
                expected="it to be the first step, since nothing of the steps before would be left",
                fix=f"use this order: {', '.join([technique.name, *others])}",
            )
    for before, after in itertools.pairwise(techniques):
        if after.stage < before.stage:
            works = sorted(techniques, key=lambda technique: technique.stage)
            raise SettingError(
                received=f"{after.name} after {before.name}",
                expected=f"{after.stage.name.lower()} before {before.stage.name.lower()}, since "
                "training a later change would undo the earlier one",
                fix=f"use this order: {', '.join(step.name for step in works)}",
            )


def check_left(techniques: Sequence[Technique], selections: Sequence[Selection]) -> None:
    """Refuses, before anything is trained, a step to which the steps before it leave no layer.

    Args:
        techniques: The steps.
        selections: What each would touch in the model as it is.

    Raises:
        SettingError: There is one.
    """
    for place, (technique, selection) in enumerate(zip(techniques, selections, strict=True)):
        finished: set[str] = set()
        before = []
        for earlier, touched in zip(techniques[:place], selections[:place], strict=True):
            if technique.name in earlier.finishes:
                finished.update(touched.touched)
                before.append(earlier.name)
        if before and finished.issuperset(selection.touched):
            raise SettingError(
                received=f"{technique.name} after {' and '.join(before)}, for the same layers",
                expected=f"layers that {technique.name} can still change: it leaves alone what "
                f"{' and '.join(before)} has touched",
                fix=f"leave one of the two out, or name layers to skip in {before[-1]}",
            )
