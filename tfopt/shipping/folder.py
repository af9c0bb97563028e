"""Writes the folder that is shipped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from tfopt.data import as_arrays
from tfopt.errors import SettingError, nearest
from tfopt.files import refuse_existing, write_directory
from tfopt.reporting.saved import RECIPE_FILE, SavedResult, read_result
from tfopt.shipping import examples, micro, plan, rendering
from tfopt.shipping.examples import Example
from tfopt.shipping.metadata import LABELS_FILE
from tfopt.shipping.plan import Normalization, Plan, Platform
from tfopt.tflite.inspect import inspect
from tfopt.usage import Usage

if TYPE_CHECKING:
    from tfopt.data import Arrays

_SUMS_FILE = "SHA256SUMS"
_MEDIAPIPE_FILE = "mediapipe.tflite"
_MOST_NUMBERS = 10_000


class ShippingWarning(UserWarning):
    """Something about a shipped folder that its reader has to know; it is in its README too."""


def ship(
    directory: str | os.PathLike[str],
    *,
    platform: Platform,
    output: str | os.PathLike[str],
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
    samples: Arrays | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a saved result as a folder that an app's team can drop in.

    The `.tflite` in the types the platform wants (bytes of an image as they are on phones, int8 on
    microcontrollers), with TFLite metadata and labels that MediaPipe Tasks reads; code that loads
    it and feeds it right; examples with the outputs that a right port gives; SHA-256 sums; and a
    README. The model is not converted again: the outputs stand for the same numbers, bit for bit.

    Args:
        directory: What `result.save()` wrote.
        platform: Where the app runs: `android`, `ios`, `micro`, `python` or `flutter`.
        output: The folder to write, whole or not at all.
        normalization: Mean and std of the pixels, from 0 to 255, as the model was trained on them:
            numbers, or sequences of one for each channel. None takes what the result knows.
        class_names: The names of the classes, in the order of the outputs; None takes the task's.
        samples: Inputs for the examples, as the model takes them; None makes patterns up, so that
            no data leaves the house.
        overwrite: Replace an earlier folder.

    Returns:
        The folder.

    Raises:
        SettingError: The directory holds no result or an edited one; or a setting does not go with
            the file.
        ConversionError: TensorFlow Lite Micro lacks an op of the file.
        DataError: The samples do not fit the file.
        OutputExistsError: The folder is not empty, and `overwrite` is not set.
        OutputError: It cannot be written.

    Warns:
        ShippingWarning: What the folder lacks, or a label that had to be changed.

    Example:
        >>> import tempfile, tfopt
        >>> from tfopt.testing import dense_net
        >>> result = tfopt.optimize(dense_net(), [], task=tfopt.Task.digits(),
        ...                         target=tfopt.Target.float32())
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = result.save(folder / "result")
        >>> shipped = ship(folder / "result", platform="flutter", output=folder / "app")
        >>> (shipped / "labels.txt").read_text().split()[:3]
        ['0', '1', '2']

    References:
        TFLite metadata, https://ai.google.dev/edge/litert/models/metadata.
    """
    if platform not in get_args(Platform):
        raise SettingError(
            received=f"platform={platform!r}",
            expected=nearest(str(platform), get_args(Platform)),
            fix="name where the app runs",
        )
    refuse_existing(output, overwrite=overwrite)
    result = read_result(directory)
    usage = _usage(result, directory)
    planned = plan.make(
        result,
        usage,
        platform=platform,
        normalization=normalization,
        class_names=class_names,
    )
    made = examples.make(
        planned.tflite,
        planned.ends,
        samples=None if samples is None else as_arrays(samples, "the samples"),
        ranges=usage.inputs,
    )
    files = _files(result, planned, platform, made)
    with write_directory(output, overwrite=overwrite) as folder:
        for name, content in sorted(files.items()):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
    for note in planned.notes:
        warnings.warn(note, ShippingWarning, stacklevel=2)
    return Path(output)


def _usage(result: SavedResult, directory: str | os.PathLike[str]) -> Usage:
    """What the recipe says of the data; nothing in a result of an earlier version."""
    record = result.recipe["made_from"].get("usage", {})
    try:
        return Usage.from_dict(record)
    except (TypeError, ValueError, AttributeError) as error:
        raise SettingError(
            received=f"{str(Path(directory) / RECIPE_FILE)!r}, whose usage is {record!r:.80}",
            expected="class names and the ranges of the inputs, as result.save() writes them",
            fix="restore the file, or make the result again",
        ) from error


def _files(
    result: SavedResult, planned: Plan, platform: Platform, made: Sequence[Example]
) -> dict[str, bytes]:
    """The files of the folder by their names."""
    files = {"model.tflite": planned.tflite, **_example_files(planned, made)}
    mediapipe = None
    if planned.mediapipe is not None:
        mediapipe = "model.tflite" if planned.mediapipe == planned.tflite else _MEDIAPIPE_FILE
        files[mediapipe] = planned.mediapipe
    if planned.ends.labels:
        files[LABELS_FILE] = "".join(f"{label}\n" for label in planned.ends.labels).encode()
    context = _context(result, planned, platform, made) | {"mediapipe_file": mediapipe}
    context["assets"] = rendering.listed([n for n in files if "/" not in n])
    context["mediapipe_stem"] = mediapipe and Path(mediapipe).stem
    sources = rendering.sources(platform, with_mediapipe=mediapipe is not None)
    for name in sources:
        files[name] = rendering.render(f"{name}.j2", context).encode()
    context["files"] = rendering.table_of_files([*files, "examples/examples.json"])
    files["README.md"] = rendering.render("README.md.j2", context).encode()
    sums = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(files.items())
    ]
    return files | {_SUMS_FILE: "".join(sums).encode()}


def _example_files(planned: Plan, made: Sequence[Example]) -> dict[str, bytes]:
    """The examples as raw bytes, and a record of them with the real numbers."""
    files: dict[str, bytes] = {}
    rows = []
    for number, example in enumerate(made, start=1):
        row: dict[str, Any] = {"inputs": [], "outputs": [], "real_outputs": []}
        for kind, arrays in (("input", example.inputs), ("output", example.outputs)):
            for index, array in enumerate(arrays):
                name = f"{number}_{kind}_{index}.bin"
                files[f"examples/{name}"] = array.astype(array.dtype.newbyteorder("<")).tobytes()
                row[f"{kind}s"].append(name)
        for spec, array in zip(planned.ends.outputs, example.outputs, strict=True):
            few = array.size <= _MOST_NUMBERS  # a mask of an image would be megabytes of text
            row["real_outputs"].append(spec.decode(array).reshape(-1).tolist() if few else None)
        rows.append(row)
    record = {
        key: [dataclasses.asdict(port) for port in ports]
        for key, ports in zip(("inputs", "outputs"), _ports(planned, made[0]), strict=True)
    }
    text = json.dumps(record | {"examples": rows}, indent=1) + "\n"
    return files | {"examples/examples.json": text.encode()}


def _ports(planned: Plan, example: Example) -> tuple[list[rendering.Port], list[rendering.Port]]:
    """Inputs and outputs as the code names them, in the sizes of an example."""
    ends = planned.ends
    return (
        [rendering.Port.of(s, a) for s, a in zip(ends.inputs, example.inputs, strict=True)],
        [rendering.Port.of(s, a) for s, a in zip(ends.outputs, example.outputs, strict=True)],
    )


def _context(
    result: SavedResult, planned: Plan, platform: Platform, made: Sequence[Example]
) -> dict[str, Any]:
    """What the templates read."""
    inputs, outputs = _ports(planned, made[0])
    context: dict[str, Any] = {
        "title": planned.title,
        "platform": platform,
        "inputs": inputs,
        "outputs": outputs,
        "image": planned.ends.image,
        "labels": planned.ends.labels,
        "takes_pixels": planned.ends.takes_pixels,
        "notes": planned.notes,
        "tolerance": _tolerance(outputs, max(example.steps for example in made)),
        **_claims(result),
    }
    context["examples"] = made
    if platform == "micro":
        inspection = inspect(planned.tflite)
        context |= {
            "ops": micro.resolver_methods(inspection),
            "activation_bytes": inspection.arena_bytes,
            "arena_bytes": micro.arena_suggestion(inspection),
            "model_bytes": micro.c_array(planned.tflite),
            "shift": planned.ends.shift,
            "cpp_type": rendering.CPP_TYPES.get(inputs[0].dtype),
            "cpp_bounds": rendering.bounds(inputs[0].dtype),
            "examples": [_as_c(example) for example in made],
        }
    return context


def _as_c(example: Example) -> dict[str, list[str]]:
    def arrays(values: Sequence[np.ndarray]) -> list[str]:
        return [micro.c_array(value.tobytes()) for value in values]

    return {"inputs": arrays(example.inputs), "outputs": arrays(example.outputs)}


def _tolerance(outputs: Sequence[rendering.Port], steps: float) -> str:
    """How far other kernels are off, in words."""
    if any(port.scale == "0.0" for port in outputs):
        return f"{steps:,.0f} units in the last place"
    return f"{steps:.0f} step{'s' * (steps != 1)} of an output"


def _claims(result: SavedResult) -> dict[str, Any]:
    """What was measured of the result."""
    last = result.report.steps[-1]
    score = last.test or last.validation
    return {
        "metric_name": result.report.metric,
        "claimed": f"{score.value:.4f} (95 % interval {score.low:.4f} to {score.high:.4f})",
        "samples": f"{score.samples:,}",
        "split": "test" if last.test else "validation",
        "verdict": result.report.verdict,
        "result_sha256": result.sha256,
    }
