"""What tfopt does to a model: a function for each column."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

import tfopt
from coverage_parts import Cell
from coverage_parts.judging import (
    CLOSE,
    LOST_DB,
    ROUNDED,
    SAME,
    WrongResult,
    largest_error,
    require_close,
    typical_error,
    varying_error,
)
from coverage_parts.subject import Subject
from tfopt import facts
from tfopt.errors import FloatOpsError, TfoptError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.technique import Selection, Skipped
from tfopt.tflite.convert import convert
from tfopt.tflite.file_layers import tensors_by_layer
from tfopt.tflite.interpreter import TFLiteModel

_FEW_OPS = 3


def load(subject: Subject) -> Cell:
    """The model itself becomes a flat tf_keras one that computes the same."""
    before = [weight.copy() for weight in subject.model.get_weights()]
    error = largest_error(subject.outputs(subject.loaded), subject.own_outputs())
    require_close("the loaded model", error, SAME)
    after = subject.model.get_weights()
    if any((a != b).any() for a, b in zip(before, after, strict=True)):
        raise WrongResult("the user's model was changed")
    return Cell("ok", details={"error": error, "layers": len(subject.loaded.layers)})


def file(subject: Subject) -> Cell:
    """The model is read from the files that its own Keras writes and reads."""
    expected, done, unusable = subject.own_outputs(), [], []
    for suffix in (".keras", ".h5"):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / f"model{suffix}"
            try:
                subject.model.save(path)
                loaded = tfopt.load_model(path)
            except Exception as error:
                if path.exists() and _own_keras_reads(subject, path):
                    raise
                unusable.append(f"{suffix}: {error}")
                continue
            worst = largest_error(subject.outputs(loaded), expected)
            require_close(f"the model from {suffix}", worst, SAME)
            done.append(suffix)
    details = {"read": done, "not usable in its own Keras": unusable}
    if not done:
        return Cell("partial", "its own Keras reads no file of it", "\n".join(unusable), details)
    return Cell("ok", details=details)


def _own_keras_reads(subject: Subject, path: Path) -> bool:
    """Whether the Keras that wrote a file can read it again."""
    saving = importlib.import_module(subject.row.keras).models
    try:
        saving.load_model(path)
    except Exception:
        return False
    return True


def prune(subject: Subject) -> Cell:
    """Half of the weights become zero."""
    technique = tfopt.MagnitudePruning(sparsity=0.5, epochs=1)
    selection = technique.select(subject.loaded)
    model = subject.apply(technique)
    touched = set(selection.touched)
    left_out = {skip.layer for skip in selection.skipped}
    sparse = [
        kernel.sparsity
        for kernel in facts.measure(model).kernels
        if kernel.layer in touched and f"{kernel.layer} ({kernel.kernel})" not in left_out
    ]
    if min(sparse) < 0.4:
        raise WrongResult(f"a kernel has {min(sparse):.0%} zeros instead of 50%")
    return _selected(subject, selection)


def cluster(subject: Subject) -> Cell:
    """The weights of each layer share 16 values."""
    technique = tfopt.WeightClustering(clusters=16, epochs=1)
    selection = technique.select(subject.loaded)
    model = subject.apply(technique)
    left_out = {skip.layer for skip in selection.skipped}
    unique = [
        kernel.unique
        for kernel in facts.measure(model).kernels
        if kernel.layer in selection.touched and f"{kernel.layer} ({kernel.kernel})" not in left_out
    ]
    if max(unique) > 17:
        raise WrongResult(f"a kernel has {max(unique)} values instead of 16")
    return _selected(subject, selection)


def qat(subject: Subject) -> Cell:
    """Each layer is rounded while training, or calibrated at conversion, or left in float."""
    selection = tfopt.QuantizationAware(epochs=1).select(subject.loaded)
    model = subject.quantized
    if not facts.is_fake_quantized(model):
        raise WrongResult("the result is not fake-quantized")
    calibrated = [skip for skip in selection.skipped if "calibration" in skip.reason]
    left = [
        skip
        for skip in selection.skipped
        if skip not in calibrated and "not floating-point" not in skip.reason
    ]
    cell = _counted(subject, selection, left)
    note = ", ".join([*[cell.note] * bool(cell.note), *_calibrated(calibrated)])
    return Cell(cell.status, note, cell.reason, cell.details | {"calibrated": _list(calibrated)})


def _calibrated(skipped: list[Skipped]) -> list[str]:
    return [f"{len(skipped)} calibrated"] if skipped else []


def _converting(numerics: str) -> Callable[[Subject], Cell]:
    def column(subject: Subject) -> Cell:
        return _converted(subject, subject.loaded, subject.own_outputs(), numerics)

    column.__doc__ = f"The model as a {numerics} file that runs and computes the same."
    return column


def qat_int8(subject: Subject) -> Cell:
    """The fake-quantized model as an int8 file that computes as it does."""
    return _converted(subject, subject.quantized, subject.outputs(subject.quantized), "int8")


def save(subject: Subject) -> Cell:
    """`save_model` and `load_model`, of the plain model and of the fake-quantized one."""
    worst = 0.0
    plain, quantized = subject.loaded, subject.quantized
    for kind, model, suffixes in (
        ("float", plain, (".keras", ".h5", "")),
        ("QAT", quantized, (".keras", "")),
    ):
        expected = subject.outputs(model)
        for suffix in suffixes:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"model{suffix}"
                tfopt.save_model(model, path)
                error = largest_error(subject.outputs(tfopt.load_model(path)), expected)
            require_close(f"the {kind} model from {suffix or 'SavedModel'}", error, SAME)
            worst = max(worst, error)
    return Cell("ok", details={"error": worst})


COLUMNS: dict[str, Callable[[Subject], Cell]] = {
    "load": load,
    "from file": file,
    "prune": prune,
    "cluster": cluster,
    "QAT": qat,
    "float32": _converting("float32"),
    "int8": _converting("int8"),
    "QAT int8": qat_int8,
    "int16x8": _converting("int16x8"),
    "save": save,
}


def _converted(subject: Subject, model: tf_keras.Model, expected: Any, numerics: str) -> Cell:
    """Converts, runs with and without XNNPACK, and compares."""
    target = getattr(Target, numerics)()
    float_ops: TfoptError | None = None
    try:
        tflite = convert(model, task=subject.task, target=target)
    except FloatOpsError as error:
        float_ops = error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            allowing = getattr(Target, numerics)(allow_float_ops=True)
            tflite = convert(model, task=subject.task, target=allowing)
    errors, note = {}, ""
    # calm models give much the same for all inputs: what they give above that must be right
    error_of = varying_error if subject.row.group == "applications" else typical_error
    for kernels in ("default", "builtin"):
        found = subject.file_outputs(tflite, kernels=kernels)
        errors[kernels] = error_of(found, expected)
        what = f"the {numerics} file" + (" without XNNPACK" if kernels == "builtin" else "")
        try:
            require_close(what, errors[kernels], CLOSE[numerics])
        except WrongResult:
            if not _rounding_adds_up(subject, model, tflite):
                raise
            note = "judged layer by layer"
    inspection = tfopt.inspect(tflite)
    details = {"error": errors, "bytes": len(tflite), "ops": len(inspection.ops)}
    if float_ops is None:
        return Cell("ok", note, details=details | {"integer_only": inspection.integer_only})
    # the conversions around an op are a consequence of it
    names = Counter(op.name for op in inspection.float_ops)
    ops = [name for name in names if name not in ("QUANTIZE", "DEQUANTIZE")] or list(names)
    note = f"in float: {', '.join(ops[:_FEW_OPS])}{'...' if len(ops) > _FEW_OPS else ''}"
    return Cell("partial", note, str(float_ops), details)


def _rounding_adds_up(subject: Subject, model: tf_keras.Model, tflite: bytes) -> bool:
    """Whether a file's error grows from layer to layer, and no layer makes most of it.

    An op that computes something else loses the signal at once, behind inputs that were right.
    Softmax loses some by itself, of logits that are far apart: it is held against what it reads.
    """
    compared = tfopt.compare_layers(tflite, model, task=subject.task, samples=subject.row.samples)
    outputs = {tensor._keras_history.layer.name for tensor in model.outputs}
    if not outputs <= {layer.layer for layer in compared.layers}:
        return False
    lost = [row for row in compared.layers if row.sqnr_db < LOST_DB and row.lost_db > LOST_DB]
    return all(
        row.op == "SOFTMAX" and _is_softmax_of_what_it_reads(subject, model, tflite, row.layer)
        for row in lost
    )


def _is_softmax_of_what_it_reads(
    subject: Subject, model: tf_keras.Model, tflite: bytes, layer: str
) -> bool:
    """Whether the file's op gives the softmax of the numbers that it gets in the file."""
    inspection = tfopt.inspect(tflite)
    made = tensors_by_layer(inspection, model)[layer].tensor
    read = next(op.inputs[0] for op in inspection.ops if made in op.outputs)
    file = TFLiteModel(tflite, keep_tensors=True)
    inputs = subject.task.representative_inputs(subject.row.samples)
    return all(
        typical_error([made.decode(y)], [tf.nn.softmax(read.decode(x))]) < ROUNDED
        for _, (x, y) in file.activations(inputs, [read.index, made.index])
    )


def _selected(subject: Subject, selection: Selection) -> Cell:
    """The cell of a technique on kernels: layers without any need not be named."""
    left = [skip for skip in selection.skipped if skip.reason != "has no kernel"]
    return _counted(subject, selection, left)


def _counted(subject: Subject, selection: Selection, left: list[Skipped]) -> Cell:
    """`ok`, or `partial` with the layers left out; all layers must be accounted for."""
    known = {*selection.touched, *(skip.layer for skip in selection.skipped)}
    layers = [layer for layer in subject.loaded.layers if type(layer).__name__ != "InputLayer"]
    silent = [layer.name for layer in layers if layer.name not in known]
    if silent:
        raise WrongResult(f"layers skipped in silence: {', '.join(silent)}")
    details = {"touched": len(selection.touched), "skipped": _list(left)}
    if not left:
        return Cell("ok", details=details)
    layers_left = "1 layer" if len(left) == 1 else f"{len(left)} layers"
    reason = "\n".join(f"{skip.layer} ({skip.kind}): {skip.reason}" for skip in left)
    return Cell("partial", f"{layers_left} skipped", reason, details)


def _list(skipped: list[Skipped]) -> list[str]:
    return [f"{skip.layer} ({skip.kind}): {skip.reason}" for skip in skipped]
