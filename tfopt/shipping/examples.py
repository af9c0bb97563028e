"""Inputs, and the outputs that a right port gives for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfopt.data import Arrays, columns, length
from tfopt.measure.cost import sample_shape
from tfopt.shipping.tensors import Ends
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.tensor_spec import TensorSpec
from tfopt.usage import InputRange

COUNT = 3


@dataclasses.dataclass(frozen=True)
class Example:
    """One sample through the file, in the types of the file.

    Args:
        inputs: One array for each input, (1, ...).
        outputs: What TensorFlow Lite's builtin kernels give, which a microcontroller's equal.
        steps: By how many steps (of the last place, in floating point) XNNPACK's outputs differ at
            most: what another set of kernels may differ by, too.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    steps: float


def make(
    tflite: bytes, ends: Ends, *, samples: Arrays | None, ranges: Sequence[InputRange]
) -> tuple[Example, ...]:
    """Runs samples through a file, one by one.

    Args:
        tflite: The file.
        ends: Its inputs and outputs.
        samples: Inputs in the file's order or by its names; None makes patterns: no data is needed
            to check a port, and none leaves the house.
        ranges: What the inputs take, if it is known.

    Raises:
        DataError: The samples do not fit the file.
    """
    builtin, fast = TFLiteModel(tflite, kernels="builtin"), TFLiteModel(tflite)
    if samples is None:
        shapes = [sample_shape(spec, builtin.shapes[spec.index]) for spec in ends.inputs]
        inputs = [_patterns(ends, place, shape, ranges) for place, shape in enumerate(shapes)]
    else:
        given = columns(samples, [spec.name for spec in ends.inputs])
        for spec, array in zip(ends.inputs, given, strict=True):
            spec.check(array)
        inputs = [spec.encode(a) for spec, a in zip(ends.inputs, given, strict=True)]
    found = []
    for index in range(length(tuple(inputs))):
        one = tuple(array[index : index + 1] for array in inputs)
        outputs = _run(builtin, one, ends)
        others = _run(fast, one, ends)
        steps = max(map(_difference, outputs, others))
        found.append(Example(one, outputs, steps))
    return tuple(found)


def _run(model: TFLiteModel, inputs: tuple[np.ndarray, ...], ends: Ends) -> tuple[np.ndarray, ...]:
    """The outputs in the order of `ends`, in the file's own types."""
    given = {spec.index: array for spec, array in zip(ends.inputs, inputs, strict=True)}
    values = model.predict(tuple(given[spec.index] for spec in model.inputs))
    found = dict(zip((spec.index for spec in model.outputs), values, strict=True))
    # exact: what is encoded here was decoded from these very integers
    return tuple(spec.encode(found[spec.index]) for spec in ends.outputs)


def _difference(ours: np.ndarray, others: np.ndarray) -> float:
    """The largest difference, in steps."""
    if ours.dtype.kind == "f":
        largest = float(np.abs(ours - others).max(initial=0.0))
        return largest / float(np.spacing(np.abs(ours).max(initial=1e-30)))
    return float(np.abs(ours.astype(np.int64) - others.astype(np.int64)).max(initial=0))


def _patterns(
    ends: Ends, place: int, shape: tuple[int, ...], ranges: Sequence[InputRange]
) -> np.ndarray:
    """A ramp, a checkerboard and noise: they show a wrong order of axes, channels or numbers."""
    spec, image, shift = ends.inputs[place], ends.image, ends.shift
    generator = np.random.default_rng(place)
    size = int(np.prod(shape, dtype=np.int64))
    ramp = (np.arange(size) / max(size - 1, 1)).reshape(shape)
    checks = (np.indices(shape).sum(axis=0) % 2).astype(float) * ramp if shape else ramp
    shares = np.stack([ramp, checks, generator.random(shape)])
    if image is not None:
        pixels = np.rint(255 * shares)
        if shift is not None:
            return (pixels - shift).astype(spec.dtype)
        return spec.encode(((pixels - image.mean) / image.std).astype(np.float32))
    low, high = _range(spec, place, ranges)
    values = low + (high - low) * shares
    if spec.scale is None and np.dtype(spec.dtype).kind != "f":
        return np.rint(values).astype(spec.dtype)
    return spec.encode(values.astype(np.float32))


def _range(spec: TensorSpec, place: int, ranges: Sequence[InputRange]) -> tuple[float, float]:
    """What an input takes: as was seen, as its quantization says, else from 0 to 1."""
    named = {one.name: (one.low, one.high) for one in ranges}
    for key in (spec.name, str(place), ""):
        if key in named:
            return named[key]
    if spec.scale is not None:
        bounds = np.iinfo(spec.dtype)
        ends = [(end - (spec.zero_point or 0)) * spec.scale for end in (bounds.min, bounds.max)]
        return ends[0], ends[1]
    return 0.0, 1.0
