"""The models after each step, kept on disk: a chain that was stopped goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfopt import cache, facts
from tfopt.errors import TfoptError
from tfopt.files import checksum, write_directory
from tfopt.fingerprints import fingerprint
from tfopt.keras_gate import load_model, save_model
from tfopt.measurement import Done
from tfopt.recipe import technique_from_dict, technique_to_dict
from tfopt.report import Training, reading
from tfopt.training.strategies import spans_workers, strategy_of

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task
    from tfopt.technique import Technique

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
            task=[task.seed, task.batch_size],
            functions=fingerprint([task.loss, task.augment, task.metric]),
            strategy=str(task.strategy),
            teacher=self._teacher,
        )
        return self._folder / f"step-{key}"


def _content(paths: Sequence[str]) -> dict[str, str]:
    """What files hold, as JSON values: a path stays when a model is trained anew."""
    return {f"content of {path}": checksum(path) for path in paths}
