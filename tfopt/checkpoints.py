"""The models after each step, kept on disk: a chain that was stopped goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import sys
import sysconfig
import types
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfopt import cache, facts
from tfopt.errors import TfoptError
from tfopt.files import checksum, write_directory
from tfopt.keras_gate import load_model, save_model
from tfopt.measurement import Done
from tfopt.recipe import technique_from_dict, technique_to_dict
from tfopt.report import Training, reading
from tfopt.training.strategies import spans_workers, strategy_of

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task
    from tfopt.technique import Technique

_LIBRARIES = tuple(map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")))
_MODEL, _RECORD = "model.h5", "step.json"


class RestoredWarning(UserWarning):
    """A step was not made again: its model was kept."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a step has made.

    Args:
        technique: The technique as it was applied: with steps where it was given seconds.
        model: The model after it.
        done: What there is to tell of it.
    """

    technique: Technique
    model: tf_keras.Model
    done: Done


class Checkpoints:
    """Steps in a directory, each under the checksum of all that it depends on.

    Args:
        directory: Where; None: the one that `TFOPT_CACHE` names, or nothing is kept.
        task: What is trained on. Several workers keep nothing: each would have to find the same.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, task: Task) -> None:
        alone = not spans_workers(strategy_of(task))
        self._folder = cache.directory(directory) if alone else None
        self._task = task
        self._data = task.fingerprint() if self._folder else ""
        teacher = task.teacher if self._folder else None
        self._teacher = facts.weights_checksum(teacher) if teacher else None

    def find(
        self, place: Path | None, technique: Technique, model: tf_keras.Model
    ) -> Checkpoint | None:
        """Returns what a technique has made of a model before; None if that is not known.

        Args:
            place: As `place` has said.
            technique: The technique about to be applied.
            model: The model about to be optimized.

        Warns:
            RestoredWarning: It is found.
            CorruptCacheWarning: It cannot be read.
        """
        if place is None or not place.exists():
            return None
        try:
            record = json.loads((place / _RECORD).read_text(encoding="utf-8"))
            found = load_model(place / _MODEL)
            found.output_names = record["output_names"]
            applied = technique_from_dict(record["technique"])
            trainings = tuple(reading.read(Training, row) for row in record["trainings"])
        except (OSError, ValueError, TypeError, KeyError, TfoptError) as error:
            cache.warn_of(place, error)
            return None
        warnings.warn(
            f"{technique.name} is not applied again: its model is in {place}",
            RestoredWarning,
            stacklevel=4,
        )
        return Checkpoint(
            applied, found, Done(technique.changed(model, found), applied.settings, trainings)
        )

    @staticmethod
    def keep(place: Path | None, made: Checkpoint) -> None:
        """Keeps what a technique has made of a model.

        Args:
            place: As `place` has said; None: nothing is kept.
            made: What came out.

        Raises:
            OutputError: It cannot be written.
        """
        if place is None:
            return
        record = {
            "technique": technique_to_dict(made.technique),
            "trainings": [reading.plain(dataclasses.asdict(each)) for each in made.done.trainings],
            "output_names": made.model.output_names,
        }
        with write_directory(place, overwrite=True) as new:
            save_model(made.model, new / _MODEL)
            (new / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def place(self, technique: Technique, model: tf_keras.Model) -> Path | None:
        """Returns where a step is kept, there or not; None if nothing is kept.

        Args:
            technique: The technique as it was asked for.
            model: The model before it.
        """
        if self._folder is None:
            return None
        task = self._task
        key = cache.key(
            technique=technique_to_dict(technique) | _content(technique.reads),
            model=model.get_config(),
            weights=facts.weights_checksum(model),
            data=self._data,
            task=[task.seed, task.batch_size, *map(_told, (task.loss, task.augment))],
            metric=_told(task.metric),
            strategy=str(task.strategy),
            teacher=self._teacher,
            tensorflow=tf.__version__,
        )
        return self._folder / f"step-{key}"


def _content(paths: Sequence[str]) -> dict[str, str]:
    """What files hold, as JSON values: a path stays when a model is trained anew."""
    return {f"content of {path}": checksum(path) for path in paths}


def _told(value: Any, told: set[int] | None = None) -> Any:
    """A setting as JSON values that change with what it does; in doubt, with each process.

    Args:
        value: The setting.
        told: The functions that are told of already, by their ids: they may read each other.
    """
    told = set() if told is None else told
    if isinstance(value, Mapping):
        return {str(name): _told(part, told) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_told(part, told) for part in value]
    if isinstance(value, np.ndarray | tf.Tensor | tf.Variable):
        array = np.asarray(value)
        return [str(array.dtype), str(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    if inspect.isclass(value) or inspect.isfunction(value):
        return _told_of_code(value, told)
    if inspect.ismodule(value):
        return value.__name__
    if hasattr(value, "get_config"):
        return [type(value).__qualname__, value.get_config()]
    return str(value)


def _told_of_code(value: Any, told: set[int]) -> Any:
    """A class or function: what it does, and the values that it reads."""
    name = [value.__module__, value.__qualname__]
    if _is_installed(value) or id(value) in told:
        return name
    if inspect.isclass(value) or value.__closure__:
        return [*name, hex(id(value))]
    told.add(id(value))
    codes = _nested(value.__code__)
    names = {name for code in codes for name in code.co_names} & value.__globals__.keys()
    read = {name: value.__globals__[name] for name in sorted(names)}
    does = [_does(code) for code in codes]
    return [*name, does, _told([value.__defaults__, value.__kwdefaults__, read], told)]


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
