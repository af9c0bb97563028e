"""Which file a platform gets, and what is known of its inputs and outputs."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from tfopt.errors import SettingError
from tfopt.reporting.saved import SavedResult
from tfopt.shipping import labels as label_lines
from tfopt.shipping.metadata import About, with_metadata
from tfopt.shipping.tensors import Ends, Image, is_image, usual_normalization
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.io_types import with_io_type
from tfopt.tflite.rgb import with_rgb_input
from tfopt.tflite.tensor_spec import TensorSpec
from tfopt.usage import Usage

Platform = Literal["android", "ios", "micro", "python", "flutter"]
Normalization = tuple[float | Sequence[float], float | Sequence[float]]

_WITH_MEDIAPIPE = ("android", "ios", "python")
_NOT_PLAIN = re.compile(r"[^\w .-]+")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is shipped.

    Args:
        tflite: The file.
        ends: Its inputs and outputs.
        mediapipe: The file for MediaPipe: the same one or, for grey images, one that takes RGB;
            None where MediaPipe has no use for it.
        title: The name of the result, of letters, digits, spaces, dots and dashes.
        notes: What the reader has to know.
    """

    tflite: bytes
    ends: Ends
    mediapipe: bytes | None
    title: str
    notes: tuple[str, ...]


def make(
    result: SavedResult,
    usage: Usage,
    *,
    platform: Platform,
    normalization: Normalization | None,
    class_names: Sequence[str] | None,
) -> Plan:
    """Plans what to ship.

    Args:
        result: What was saved.
        usage: What is known of its data.
        platform: Where the app runs.
        normalization: Mean and std of the pixels; None takes what the result knows.
        class_names: The names of the classes; None takes the result's.

    Raises:
        SettingError: `normalization` or `class_names` do not go with the file.
    """
    given = _specs(result.tflite)
    image, image_notes = _image(given[0], usage, normalization)
    labels, label_notes = _labels(given[1], usage, class_names)
    tflite = _for_platform(result.tflite, platform, image)
    ends = Ends(*_specs(tflite), image, labels)
    about = About(_plain(result.name), f"{result.report.steps[-1].numerics}, made by tfopt")
    mediapipe = _mediapipe(tflite, ends, about) if platform in _WITH_MEDIAPIPE else None
    notes = [*image_notes, *label_notes]
    if platform in _WITH_MEDIAPIPE and mediapipe is None and image and labels:
        notes.append(_NO_GREY if ends.takes_pixels else _NO_PIXELS)
    if ends.takes_pixels and not _is_shifted(result.tflite, tflite):
        notes.append(_OTHER_STEPS)
    if platform != "micro":
        tflite = with_metadata(tflite, ends, about)
    return Plan(tflite, ends, mediapipe, about.name, tuple(notes))


_NO_PIXELS = (
    "The file cannot take the bytes of an image as they are, since its normalization is not one "
    "number for all channels with a whole mean: so there is no code for MediaPipe. "
    "tfopt.with_preprocessing puts the normalization into the model."
)


_NO_GREY = (
    "The file takes grey pixels as plain bytes, which nothing in it can make of the colour images "
    "that MediaPipe gives: so there is no code for MediaPipe. A result for Target.int8() has it."
)


_NO_NAMES = "The result knows no class names: give them with --labels, a file of lines."


_OTHER_STEPS = (
    "The steps of the measured file's input are not those of pixels: the bytes of an image are "
    "rounded to them inside, and outputs can differ by that from the measured ones."
)


def _is_shifted(before: bytes, after: bytes) -> bool:
    """Whether the inputs of two files have the same steps."""
    steps = [_specs(tflite)[0][0].scale for tflite in (before, after)]
    return steps[0] == steps[1]


def _for_platform(tflite: bytes, platform: Platform, image: Image | None) -> bytes:
    """The file with the types of inputs and outputs that the platform wants."""
    if platform == "micro":
        return with_io_type(tflite, "int8", from_float=True)
    plain = with_io_type(with_io_type(tflite, "int8"), "uint8")
    spec = _specs(plain)[0][0]
    if image is None or spec.dtype != "uint8" or spec.scale is None:
        return plain
    grid = None if image.is_grid(spec.scale, spec.zero_point or 0) else image.grid()
    if grid is None:
        return plain
    return with_io_type(with_io_type(tflite, "int8"), "uint8", input_grid=grid)


def _mediapipe(tflite: bytes, ends: Ends, about: About) -> bytes | None:
    """The file that MediaPipe's ImageClassifier takes: RGB images, bytes as they are or floats."""
    image = ends.image
    if image is None or not ends.labels:
        return None
    if not ends.takes_pixels and ends.inputs[0].dtype != "float32":
        return None
    if image.channels == 3:
        return with_metadata(tflite, ends, about)
    if ends.inputs[0].dtype != "float32" and ends.inputs[0].scale is None:
        return None  # a convolution reads real or quantized numbers
    inside = tflite if ends.inputs[0].dtype == "float32" else with_io_type(tflite, "int8")
    grid = (ends.inputs[0].scale or 1.0, ends.inputs[0].zero_point or 0)
    colored = with_rgb_input(inside)
    if inside is not tflite:
        colored = with_io_type(colored, "uint8", input_grid=grid)
    inputs, outputs = _specs(colored)
    seen = dataclasses.replace(image, channels=3)
    return with_metadata(colored, Ends(inputs, outputs, seen, ends.labels), about)


def _specs(tflite: bytes) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs in the order of the file, which every client counts by."""
    model, inspection = TFLiteModel(tflite), inspect(tflite)

    def ordered(specs: Sequence[TensorSpec], tensors: Sequence[int]) -> tuple[TensorSpec, ...]:
        return tuple(sorted(specs, key=lambda spec: tensors.index(spec.index)))

    return (
        ordered(model.inputs, [tensor.index for tensor in inspection.inputs]),
        ordered(model.outputs, [tensor.index for tensor in inspection.outputs]),
    )


def _image(
    inputs: Sequence[TensorSpec], usage: Usage, normalization: Normalization | None
) -> tuple[Image | None, list[str]]:
    """What the only input shows, if it is an image, and what is not known of it."""
    spec = inputs[0]
    shaped = len(inputs) == 1 and is_image(spec)
    if not shaped:
        if normalization is not None:
            raise SettingError(
                received=f"mean and std for inputs of shape {[list(one.shape) for one in inputs]}",
                expected="one input of shape (samples, height, width, 1 or 3)",
                fix="leave them out: the inputs are no image",
            )
        return None, []
    found, told_by = normalization, "as it was given"
    if found is None:
        found, told_by = _known_normalization(spec, usage)
    if found is None:
        return None, [
            "The input has the shape of an image, but how its pixels were scaled is not known, so "
            "it is described as plain numbers. Say it: --mean and --std of the pixels, 0 to 255."
        ]
    _, height, width, channels = (size or 0 for size in spec.shape)
    mean, std = _mean_and_std(found, channels)
    return Image(height, width, channels, mean, std, told_by), []


def _known_normalization(spec: TensorSpec, usage: Usage) -> tuple[tuple[float, float] | None, str]:
    """Mean and std of the pixels, and how they are known."""
    if len(usage.inputs) == 1:
        seen = usage.inputs[0]
        if usage.images:
            return (0.0, 255.0 if seen.high <= 1 else 1.0), "as the data was loaded"
        return usual_normalization(seen.low, seen.high), "told by the range of the data"
    if spec.scale is None:
        return None, ""
    low, high = _bounds(spec)
    return usual_normalization(low, high), "told by the input's range"


def _bounds(spec: TensorSpec) -> tuple[float, float]:
    """The real numbers at the ends of a quantized input."""
    limits = np.iinfo(spec.dtype)
    low, high = (
        (end - (spec.zero_point or 0)) * (spec.scale or 1.0) for end in (limits.min, limits.max)
    )
    return low, high


_IN_PIXELS = "give mean and std in pixels, 0 to 255: --mean=127.5 --std=127.5"


def _mean_and_std(
    found: Normalization, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Each as one number for all channels, or one for each."""
    try:
        mean, std = (tuple(np.ravel(np.asarray(one, float)).tolist()) for one in found)
    except (TypeError, ValueError) as error:
        raise SettingError(
            received=f"normalization={found!r:.80}",
            expected="two: the mean and the std of the pixels",
            fix=_IN_PIXELS,
        ) from error
    for numbers in (mean, std):
        if len(numbers) not in (1, channels):
            raise SettingError(
                received=f"{len(numbers)} numbers for {channels} channels: {numbers}",
                expected="one number, or one for each channel",
                fix=_IN_PIXELS,
            )
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise SettingError(
            received=f"the mean {mean} and the std {std} of the pixels",
            expected="finite numbers, and a std above 0",
            fix=_IN_PIXELS,
        )
    return mean, std


def _labels(
    outputs: Sequence[TensorSpec], usage: Usage, class_names: Sequence[str] | None
) -> tuple[tuple[str, ...] | None, list[str]]:
    """The labels of the only output, and what is to say of them."""
    names = usage.class_names if class_names is None else tuple(class_names)
    if names is None:
        scores = len(outputs) == 1 and outputs[0].shape[1:] != (1,)  # a number has no labels
        return None, [_NO_NAMES] * scores
    fits = len(outputs) == 1 and outputs[0].shape[1:] == (len(names),)
    if not fits:
        shapes = [list(spec.shape[1:]) for spec in outputs]
        if class_names is not None:
            raise SettingError(
                received=f"{len(names)} class names for outputs of shape {shapes}",
                expected="one output with a score for each class",
                fix="give as many names as the model has classes, in the order of its outputs",
            )
        return None, [f"{len(names)} class names do not go with outputs of shape {shapes}."]
    labels, changed = label_lines.clean(names)
    return labels, [f"A name would have broken the label file: {one}." for one in changed]


def _plain(name: str) -> str:
    """A name that means nothing in any language."""
    return _NOT_PLAIN.sub("_", name)[:80] or "model"
