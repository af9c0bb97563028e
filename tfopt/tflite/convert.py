"""A Keras model as the bytes of a `.tflite`, proven to be what a target asks for."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt import facts, keras_gate
from tfopt.data import Arrays
from tfopt.errors import ConversionError, FloatOpsError, ModelError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target, check_target
from tfopt.tflite import (
    converter,
    given,
    keeping,
    likeness,
    litert,
    proof,
    quantizing,
    tracing,
)
from tfopt.tflite.exporting import export
from tfopt.tflite.inspect import inspect
from tfopt.tflite.io_types import with_pixels
from tfopt.tflite.likeness import InexactFileWarning
from tfopt.tflite.open_sizes import with_sizes

if TYPE_CHECKING:
    from tfopt.task import Task


class FloatOpsWarning(UserWarning):
    """A file that should be integer only computes in floating point somewhere, as was allowed."""


class FixedSizeWarning(UserWarning):
    """A file takes inputs of one size only, though the model takes any."""


def convert(
    model: Any,
    *,
    task: Task | None = None,
    target: Target,
    representative: Arrays | None = None,
) -> bytes:
    """Converts a Keras model for a target and proves the file in the interpreter.

    The same model and data give the same bytes, in any process. The batch is left open, so that
    the file can run many samples at a time, but for models that the converter takes only with a
    batch of 1. Fake quantization, trained for 8 bits, is left out for other activations than int8.

    Args:
        model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
        task: Gives the samples that activation ranges are calibrated with; integer targets need it.
        target: The numerics and types of the file.
        representative: Inputs to calibrate with instead of the task's, all of them; without a
            task they are enough, as `tfopt.synthetic_inputs` makes them of the model alone.

    Returns:
        The file's content.

    Raises:
        ConversionError: The converter fails on the model, or the file does not run, is not of the
            types asked for, or gives outputs of no use. Outputs that are merely far from the
            model's are told by an `InexactFileWarning`.
        FloatOpsError: A file for an integer target has ops in floating point, and the target does
            not allow it. If it does, a `FloatOpsWarning` lists them.
        DataError: The task's data does not fit the model, or has no range to calibrate with. That
            it is a single sample is told by a `DataWarning`.
        SettingError: There is no task and the target needs one, or `target` is none.
        ModelError: The model cannot be loaded or traced.
        MissingPackageError: The target names the LiteRT Quantizer, which is not installed.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = convert(small_cnn(), task=tfopt.Task.digits(), target=tfopt.Target.int8())
        >>> tfopt.inspect(tflite).integer_only
        True

    References:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018.
    """
    tflite, told = converted(model, task=task, target=target, representative=representative)
    for warning in told:
        warnings.warn(warning, stacklevel=2)
    return tflite


def converted(
    model: Any, *, task: Task | None = None, target: Target, representative: Arrays | None = None
) -> tuple[bytes, tuple[Warning, ...]]:
    """Converts as `convert` does, without a warning.

    Returns:
        The file's content; and what `convert` warns of.
    """
    check_target(target)
    quantizing.check(target)
    litert.check(target)
    proof.prepare()
    converter.prepare()
    if not isinstance(model, tf_keras.Model) or not getattr(model, "inputs", None):
        model = keras_gate.load_model(model)
    keras_gate.check_stateless(model)
    for field in ("keep_float", "keep_int16", "keep_int8"):
        keeping.check(model, getattr(target, field), field=field)
    _check_weights(model)
    samples, keep = given.samples(model, task, target, representative)
    one_sample = given.told_of_one(samples) if target.needs_calibration else ()
    ways = _ways(model, target, sized=task is not None or representative is not None)
    proven = _best(model, samples, target, keep, ways)
    if proven.float_ops is not None and not target.allow_float_ops:
        raise proven.float_ops
    return proven.tflite, (*one_sample, *proven.told)


@dataclasses.dataclass(frozen=True)
class _Way:
    """How to convert: samples in a batch (None: any number), LSTMs as one op, sizes of samples."""

    batch: int | None
    lstm_ops: bool = False
    fixed_size: bool = False


@dataclasses.dataclass(frozen=True)
class _Proven:
    """A file that runs, and what is to say of it: of ops in floating point, outputs, shapes."""

    tflite: bytes
    float_ops: FloatOpsError | None
    told: tuple[Warning, ...]


def _best(
    model: tf_keras.Model,
    samples: list[np.ndarray],
    target: Target,
    keep: set[str],
    ways: Sequence[_Way],
) -> _Proven:
    """The first way that gives a file without ops in floating point, else the first that works."""
    found: list[_Proven] = []
    for way in ways:
        try:
            proven = _proven(model, samples, target, keep, way)
        except (ConversionError, ModelError):
            if way is ways[-1] and not found:
                raise
            continue
        if proven.float_ops is None:
            return proven
        found.append(proven)
    return found[0]


def _told_of_sizes(model: tf_keras.Model, samples: list[np.ndarray]) -> FixedSizeWarning:
    fixed = [
        f"input {name!r} of shape {tuple(array.shape[1:])}"
        for name, tensor, array in zip(model.input_names, model.inputs, samples, strict=True)
        if None in tensor.shape[1:]
    ]
    return FixedSizeWarning(
        f"The file takes {', '.join(fixed)} only, as the samples are: with sizes left open it has "
        "no integer op, or does not run."
    )


def _ways(model: tf_keras.Model, target: Target, *, sized: bool) -> list[_Way]:
    """The ways to try, that to the best file first.

    Some layers can be converted or run with a known batch only. An LSTM is smallest and most exact
    as one op; that op knows no 16-bit activations. Other recurrent layers need a known length, and
    so does what computes with an open size: that of the samples, if these are the user's.
    """
    lstm_ops = not _has_wide_activations(target) and tracing.has_lstm_ops(model)
    is_open = given.has_open_sizes(model)
    needs_size = target.integer_only and is_open and tracing.has_recurrent_layers(model)
    of_any_size = [_Way(None), _Way(1)] * (not needs_size)
    of_the_samples = [_Way(None, fixed_size=True), _Way(1, fixed_size=True)] * (sized and is_open)
    return [_Way(1, lstm_ops=True)] * lstm_ops + of_any_size + of_the_samples


def _proven(
    model: tf_keras.Model,
    samples: list[np.ndarray],
    target: Target,
    keep: set[str],
    way: _Way,
) -> _Proven:
    """Converts and checks."""
    traced = tracing.trace(
        model,
        batch=way.batch,
        lstm_ops=way.lstm_ops,
        fake_quantized=target.integer_only and not _has_wide_activations(target),
        keep_names=keep,
        integer=target.integer_only,
        wide=_has_wide_activations(target),
        bytes_as_reals=_bytes_can_be_reals(model, target),
        shapes=[array.shape[1:] for array in samples] if way.fixed_size else None,
    )
    entering, target = _entering(traced, samples, target)
    pixels = [new.dtype != old.dtype for new, old in zip(entering, samples, strict=True)]
    content, told = export(traced, target, entering)
    tflite = with_pixels(content, pixels)
    some = [array[: likeness.SAMPLES] for array in entering]
    tflite = with_sizes(tflite, proof.shapes_inside(tflite, [array[:1] for array in some]))
    inspection = inspect(tflite)
    kinds = [traced.input_types, [tensor.dtype.name for tensor in model.outputs]]
    proof.check_types(inspection, target, kinds)
    proof.check_lstms(inspection)
    proof.check_kept(inspection, target, traced.layers)
    found = proof.check_runs(tflite, some, inspection, traced.layers)
    inexact = likeness.check(
        tflite, found, some, traced=traced, target=target, inspection=inspection
    )
    float_ops = proof.float_ops_error(inspection, target, traced.layers)
    if way.fixed_size:
        told += (_told_of_sizes(model, samples),)
    if float_ops is not None:
        told += (FloatOpsWarning(f"{float_ops.received}."),)
    if inexact is not None:
        told += (InexactFileWarning(inexact),)
    return _Proven(tflite, float_ops, told)


def _has_wide_activations(target: Target) -> bool:
    return target.numerics == "int16x8" or bool(target.keep_int16)


def _bytes_can_be_reals(model: tf_keras.Model, target: Target) -> bool:
    """Whether the file may hold all real inputs as bytes, and some of the model's are bytes."""
    others = any(tensor.dtype.is_floating for tensor in model.inputs)
    activations = target.numerics in ("int8", "int4_weights")
    return activations and (not others or target.input_type == "uint8")


def _entering(
    traced: tracing.Traced, samples: list[np.ndarray], target: Target
) -> tuple[list[np.ndarray], Target]:
    """The samples in the types that a trace takes, and its target: of bytes if some were."""
    entering = [
        np.asarray(array, kind) for array, kind in zip(samples, traced.input_types, strict=True)
    ]
    were_bytes = [new for old, new in zip(samples, entering, strict=True) if old.dtype != new.dtype]
    for array in were_bytes:
        # a scale of exactly 1, so that a byte stays the byte it is
        if array.min() > 0:
            array.flat[0] = 0
        if array.max() < 255:
            array.flat[-1] = 255
    return entering, dataclasses.replace(target, input_type="uint8") if were_bytes else target


def _check_weights(model: tf_keras.Model) -> None:
    """Refuses NaN and infinity by the user's name of the layer: the file has others."""
    broken = facts.broken_weights(model)
    if broken is not None:
        raise ConversionError(
            received=broken,
            expected="weights that are numbers",
            fix="look for the step of training that made it, or train with a smaller learning rate",
        )
