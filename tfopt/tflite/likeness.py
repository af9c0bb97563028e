"""Whether a file computes what its model does, on a few samples: a file can run and be wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfopt.errors import ConversionError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.tflite import proof
from tfopt.tflite.file_layers import tensors_by_layer
from tfopt.tflite.inspect import Inspection
from tfopt.tflite.tracing import Traced

SAMPLES = 4
"""How many samples are compared: enough to see outputs that do not depend on the input."""

_LIMITS = {"float32": 0.01, "float16": 0.1, "int16x8": 0.1}  # what rounding alone does not reach
_LIMIT = 1.0  # 8 bits that were badly chosen are the user's to judge, by the metric
_SMALLEST = 1e-5
_VARIES = 0.25  # of the largest output: to lose that takes more than the output's own rounding
_NOT_FINITE = "holds infinities or no numbers"


class InexactFileWarning(UserWarning):
    """A file gives other numbers than its model, by far more than its numerics explain."""


def check(
    tflite: bytes,
    found: Sequence[np.ndarray],
    samples: Sequence[np.ndarray],
    *,
    traced: Traced,
    target: Target,
    inspection: Inspection,
) -> str | None:
    """Compares a file's outputs with those of the function that it was made from.

    Args:
        tflite: The file.
        found: The file's outputs, real numbers, (samples, ...) each.
        samples: The inputs they were computed of, (samples, ...) each.
        traced: The model's inference.
        target: What the file was made for.
        inspection: What the file holds.

    Returns:
        What to warn of, naming the first layer that goes wrong; None if all is well.

    Raises:
        ConversionError: Outputs are not finite, or, where it cannot come of 8-bit activations, the
            same for every input, unlike the model's.

    References:
        The measure is the root mean square of the error over that of the outputs, the inverse of
        the signal to quantization noise ratio.
    """
    try:
        expected = _outputs(traced, samples)
    except tf.errors.OpError as problem:
        said = str(problem).strip().partition("\n")[0]
        return f"The file's outputs were not compared: TensorFlow cannot run the model: {said}."
    limit = _LIMITS.get(target.numerics, _LIMIT)
    for name, ours, theirs in zip(traced.outputs, expected, found, strict=True):
        if not _is_real(ours) or ours.shape != theirs.shape:
            continue
        broken, error = _broken(ours, theirs), _relative_error(ours, theirs)
        if not broken and error <= limit:
            continue
        layer = _first_wrong(tflite, samples, limit, traced, inspection)
        if broken == _NOT_FINITE or (broken and target.numerics in _LIMITS):
            raise _of_no_use(name, broken, layer)
        off = f"is off by {error:.0%} of the model's (root mean square, {len(theirs)} samples)"
        return (
            f"Output {name!r} of the {target.numerics} file {f'{broken}, ' if broken else ''}{off}"
            f"{_first(layer)}. tfopt.compare_layers shows where precision is lost."
        )
    return None


def _of_no_use(output: str, broken: str, layer: str | None) -> ConversionError:
    culprit = f"layer {layer!r}" if layer else "the layer at fault"
    return ConversionError(
        received=f"a file whose output {output!r} {broken}, unlike the model's{_first(layer)}",
        expected="a file that computes what the model does",
        fix=f"replace {culprit}, use other numerics, or give representative samples as the model "
        "sees them in use",
    )


def _first(layer: str | None) -> str:
    return f"; layer {layer!r} is the first to go wrong" if layer else ""


def _outputs(traced: Traced, samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the traced function gives, sample by sample where its batch is 1."""
    fixed = traced.function.structured_input_signature[0][0].shape[0] == 1
    step = 1 if fixed else len(samples[0])
    parts = []
    for start in range(0, len(samples[0]), step):
        given = [tf.constant(array[start : start + step]) for array in samples]
        results = traced.function(*given)
        parts.append([np.atleast_1d(results[key].numpy()) for key in sorted(results)])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _is_real(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool(np.isfinite(values).all())


def _broken(expected: np.ndarray, found: np.ndarray) -> str:
    """What makes a file of no use at all; empty if nothing does."""
    if not np.isfinite(found).all():
        return _NOT_FINITE
    varies = np.ptp(expected, axis=0).max(initial=0.0)
    if (
        varies > _VARIES * np.abs(expected).max(initial=_SMALLEST)
        and not np.ptp(found, axis=0).any()
    ):
        return "is the same for every input"
    return ""


def _relative_error(expected: np.ndarray, found: np.ndarray) -> float:
    size = np.sqrt(np.mean(np.square(expected, dtype=np.float64)))
    error = np.sqrt(np.mean(np.square(expected - found, dtype=np.float64)))
    return float(error / max(size, _SMALLEST))


def _first_wrong(
    tflite: bytes,
    samples: Sequence[np.ndarray],
    limit: float,
    traced: Traced,
    inspection: Inspection,
) -> str | None:
    """The user's name of the first layer whose output in the file is wrong, where one is found."""
    found = tensors_by_layer(inspection, traced.model)
    layers = [traced.model.get_layer(name) for name in found]
    layers = [layer for layer in layers if _gives_one_tensor(layer)]
    if not layers:
        return None
    model = tf_keras.Model(traced.model.inputs, [layer.output for layer in layers])
    exact = tf.nest.flatten(model(list(samples) if len(samples) > 1 else samples[0]))
    tensors = [found[layer.name].tensor for layer in layers]
    values = proof.values_inside(tflite, samples, [tensor.index for tensor in tensors])
    for layer, ours, inside, tensor in zip(layers, exact, values, tensors, strict=False):
        theirs = tensor.decode(inside)
        if theirs.shape == ours.shape and not _relative_error(ours.numpy(), theirs) <= limit:
            return str(layer.name)
    return None


def _gives_one_tensor(layer: tf_keras.layers.Layer) -> bool:
    """Whether a layer is called once, and gives real numbers."""
    once = len(layer.inbound_nodes) == 1
    return once and getattr(layer.output, "dtype", None) == tf.float32
