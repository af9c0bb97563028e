"""A Keras model as the bytes of a `.tflite`, proven to be what a target asks for."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt import keras_gate
from tfopt.data import columns
from tfopt.errors import ConversionError, FloatOpsError, ModelError, SettingError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target, check_target
from tfopt.tflite import converter, proof, tracing
from tfopt.tflite.complaints import explained
from tfopt.tflite.finishing import finish
from tfopt.tflite.inspect import inspect

if TYPE_CHECKING:
    from tfopt.task import Task

_OPEN_SIZE = 64  # stands for a dimension that the model leaves open, where there is no data


class FloatOpsWarning(UserWarning):
    """A file that should be integer only computes in floating point somewhere, as was allowed."""


def convert(model: Any, *, task: Task | None = None, target: Target) -> bytes:
    """Converts a Keras model for a target and proves the file in the interpreter.

    The same model and data give the same bytes, in any process. The batch is left open, so that
    the file can run many samples at a time, but for models that the converter takes only with a
    batch of 1. Fake quantization, trained for 8 bits, is left out for other numerics than int8.

    Args:
        model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
        task: Gives the samples that activation ranges are calibrated with; integer targets need it.
        target: The numerics and types of the file.

    Returns:
        The file's content.

    Raises:
        ConversionError: The converter fails on the model, or the file does not run, or is not of
            the types asked for.
        FloatOpsError: A file for an integer target has ops in floating point, and the target does
            not allow it. If it does, a `FloatOpsWarning` lists them.
        DataError: The task's data does not fit the model.
        SettingError: There is no task and the target needs one, or `target` is none.
        ModelError: The model cannot be loaded or traced.

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
    check_target(target)
    proof.prepare()
    if not isinstance(model, tf_keras.Model) or not getattr(model, "inputs", None):
        model = keras_gate.load_model(model)
    samples, keep = _samples(model, task, target)
    *others, last = _ways(model, target)
    for way in others:
        with contextlib.suppress(ConversionError, ModelError):
            tflite, float_ops = _proven(model, samples, target, keep, way)
            break
    else:
        tflite, float_ops = _proven(model, samples, target, keep, last)
    if float_ops is not None and not target.allow_float_ops:
        raise float_ops
    if float_ops is not None:
        warnings.warn(f"{float_ops.received}.", FloatOpsWarning, stacklevel=2)
    return tflite


@dataclasses.dataclass(frozen=True)
class _Way:
    """How to convert: samples in a batch (None: any number), and whether LSTMs become one op."""

    batch: int | None
    lstm_ops: bool = False


def _ways(model: tf_keras.Model, target: Target) -> list[_Way]:
    """The ways to try, that to the best file first.

    Some layers can be converted or run with a known batch only. An LSTM is smallest and most exact
    as one op; that op knows no 16-bit activations, and is broken in front of a concatenation.
    """
    lstm_ops = target.numerics != "int16x8" and tracing.has_lstm_ops(model)
    return [_Way(1, lstm_ops=True)] * lstm_ops + [_Way(None), _Way(1)]


def _proven(
    model: tf_keras.Model,
    samples: list[np.ndarray],
    target: Target,
    keep: set[str],
    way: _Way,
) -> tuple[bytes, FloatOpsError | None]:
    """Converts and checks; returns the file, and what is to say of ops in floating point."""
    traced = tracing.trace(
        model,
        batch=way.batch,
        lstm_ops=way.lstm_ops,
        fake_quantized=target.numerics == "int8",
        keep_names=keep,
    )
    tflite = finish(
        _content(traced, samples, target),
        scopes=traced.names,
        inputs=traced.inputs,
        outputs=traced.outputs,
    )
    inspection = inspect(tflite)
    kinds = [[tensor.dtype.name for tensor in ends] for ends in (model.inputs, model.outputs)]
    proof.check_types(inspection, target, kinds)
    proof.check_lstms(inspection)
    sample = [array[:1] for array in samples]
    proof.check_runs(tflite, sample, inspection, traced.layers)
    return tflite, proof.float_ops_error(inspection, target, traced.layers)


def _samples(
    model: tf_keras.Model, task: Task | None, target: Target
) -> tuple[list[np.ndarray], set[str]]:
    """Returns samples of the model's inputs, one array for each, and the names data goes by.

    As many as the target calibrates with; one, to run the file, where it does not; zeros where
    there is no task.
    """
    if task is None:
        if target.needs_calibration:
            raise SettingError(
                received=f"task=None for a target with numerics={target.numerics!r}",
                expected="a task, whose representative samples calibrate the activation ranges",
                fix="pass task=tfopt.Task.from_arrays(...), or use Target.dynamic_range(), which "
                "needs no data",
            )
        return [_zeros(tensor) for tensor in model.inputs], set()
    task.check(model)
    arrays = task.representative_inputs(
        target.representative_samples if target.needs_calibration else 1
    )
    found = columns(arrays, model.input_names)
    typed = [
        np.asarray(array, tensor.dtype.as_numpy_dtype)
        for array, tensor in zip(found, model.inputs, strict=True)
    ]
    _, labels = task.validation.first()
    named = [given for given in (arrays, labels) if isinstance(given, dict)]
    return typed, {name for given in named for name in given}


def _zeros(tensor: Any) -> np.ndarray:
    shape = [_OPEN_SIZE if size is None else size for size in tensor.shape[1:]]
    return np.zeros([1, *shape], tensor.dtype.as_numpy_dtype)


def _content(traced: tracing.Traced, samples: list[np.ndarray], target: Target) -> bytes:
    try:
        return converter.run(traced, target, samples if target.needs_calibration else None)
    except converter.ConverterFailure as error:
        raise explained(error, traced, target) from error
