"""Makes a saved result again and compares the files byte for byte."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfopt import cache
from tfopt.errors import DataError, ModelError, SettingError
from tfopt.facts import weights_checksum
from tfopt.files import checksum
from tfopt.keras_gate import load_model
from tfopt.optimization import BASELINE_FILE, optimize
from tfopt.recipe import Recipe
from tfopt.reporting.saved import MODEL_FILE

if TYPE_CHECKING:
    from tfopt.task import Task


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """Whether a result came out the same again.

    Args:
        same: The new file equals the saved one byte for byte.
        message: What was compared, and the likely cause of a difference.
        tflite: The new file; the saved one if it was changed, since then nothing is made.
    """

    same: bool
    message: str
    tflite: bytes = dataclasses.field(repr=False)


def reproduce(
    directory: str | os.PathLike[str],
    *,
    task: Task | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Reproduction:
    """Runs the recipe of a saved result again and compares the `.tflite` byte for byte.

    Args:
        directory: What `result.save()` wrote.
        task: The task the result was made with; may be left out when its data has a name
            (`digits`, a TFDS set, an image folder).
        data_dir: Where that named data lies on this machine.

    Raises:
        SettingError: The directory holds no result, or its recipe cannot be read.
        DataError: The data is not the data the result was made from.
        ModelError: The saved baseline is not the one the result was made from.
    """
    folder = Path(directory)
    recipe = Recipe.load(folder)
    saved = folder / MODEL_FILE
    if not saved.exists():
        raise SettingError(
            received=f"{str(folder)!r}, which holds no {MODEL_FILE}",
            expected="the directory of a result, as result.save() writes it",
            fix="give that directory",
        )
    content = saved.read_bytes()
    if checksum(saved) != recipe.made_from.get("tflite_sha256"):
        message = f"{MODEL_FILE} is not what the recipe names: it was changed after it was saved"
        return Reproduction(False, message, content)
    baseline = load_model(folder / BASELINE_FILE)
    if weights_checksum(baseline) != recipe.made_from.get("baseline"):
        raise ModelError(
            received=f"a {BASELINE_FILE} with other weights than the recipe names",
            expected="the baseline the result was made from",
            fix="restore the file, or save the result again",
        )
    task = dataclasses.replace(task or _task(recipe, data_dir), seed=recipe.seed)
    if task.fingerprint() != recipe.made_from.get("data"):
        raise DataError(
            received="data with another content than the recipe names",
            expected="the data the result was made from",
            fix="give the same arrays and splits, or the same version of the data set",
        )
    with cache.off():
        tflite = optimize(baseline, recipe.techniques, task=task, target=recipe.target).tflite
    return _compare(content, tflite, recipe)


def _task(recipe: Recipe, data_dir: str | os.PathLike[str] | None) -> Task:
    """Loads the named data of a recipe again."""
    from tfopt.task import Task

    source = recipe.made_from.get("source")
    if source is None:
        raise SettingError(
            received="a result made from arrays or a tf.data.Dataset, which the recipe cannot load",
            expected="its task",
            fix="call tfopt.reproduce(directory, task=task) with the same data",
        )
    return Task.from_source(source, data_dir=data_dir)


def _compare(saved: bytes, made: bytes, recipe: Recipe) -> Reproduction:
    """Says whether two files are the same, and what the recipe knows about the saved one."""
    if saved == made:
        return Reproduction(True, f"the same {len(made):,} bytes came out again", made)
    versions = recipe.made_from.get("environment", {})
    message = (
        f"another file came out ({len(made):,} bytes, saved {len(saved):,}); it was made with "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ": other versions, another number of CPUs, or a task of another loss or batch size can "
        "make another file"
    )
    return Reproduction(False, message, made)
