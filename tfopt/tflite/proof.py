"""Proves a converted file: that it has the types asked for, integer ops, and that it runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfopt.errors import ConversionError, FloatOpsError, InterpreterError, SettingError
from tfopt.target import Target
from tfopt.tflite.inspect import Inspection, Op, layer_of
from tfopt.tflite.interpreter import Kernels, TFLiteModel
from tfopt.tflite.keeping import belongs
from tfopt.tflite.sandbox import Crashed, Failed, Sandbox
from tfopt.tflite.tracing import MOST_STEPS

_TIME_LIMIT_S = 300.0
_BYTE_INPUT = "take the bytes as they are with Target.int8(input_type='uint8'), "
_INTEGER_INPUT = "declare an input of integers as such, Input(..., dtype='int32'); else "
_FEWER_STEPS = f"give the sequence at most {MOST_STEPS} steps, which are unrolled; else "
_sandbox = Sandbox()


def prepare() -> None:
    """Starts the process that files are run in, while something else is being done."""
    _sandbox.start()


def check_runs(
    tflite: bytes,
    samples: Sequence[np.ndarray],
    inspection: Inspection,
    layers: Mapping[str, str],
) -> list[np.ndarray]:
    """Runs a file, in a process that a crash may take down.

    Args:
        tflite: The file.
        samples: A few samples, an array of shape (samples, ...) for each input.
        inspection: What the file holds.
        layers: What the user's model calls each layer, by its name in the file.

    Returns:
        The outputs, real numbers.

    Raises:
        ConversionError: It cannot be loaded or run, crashes, or takes minutes.
    """
    failures: dict[str, Crashed | Failed] = {}
    for kernels in ("default", "builtin"):
        try:
            outputs: list[np.ndarray] = _sandbox.call(
                run_once, tflite, tuple(samples), kernels, time_limit_s=_TIME_LIMIT_S
            )
        except (Crashed, Failed) as error:
            failures[kernels] = error
        if "default" not in failures:
            return outputs
    raise _does_not_run(failures, inspection, layers) from failures["default"]


def run_once(tflite: bytes, samples: tuple[np.ndarray, ...], kernels: Kernels) -> list[np.ndarray]:
    """Runs samples through a file, one by one: called in a sandbox."""
    try:
        return TFLiteModel(tflite, kernels=kernels).predict(samples)
    except InterpreterError as error:
        raise RuntimeError(error.received) from error


def values_inside(
    tflite: bytes, samples: Sequence[np.ndarray], tensors: Sequence[int]
) -> list[np.ndarray]:
    """Returns what tensors of a file hold, in a process that a crash may take down.

    Args:
        tflite: The file.
        samples: A few samples, an array of shape (samples, ...) for each input.
        tensors: The tensors' numbers.

    Returns:
        Their values as the file holds them, (samples, ...) each; none if it does not run so.
    """
    try:
        inside: list[np.ndarray] = _sandbox.call(
            run_inside, tflite, tuple(samples), tuple(tensors), time_limit_s=_TIME_LIMIT_S
        )
    except (Crashed, Failed):
        return []  # XNNPACK runs it, and shows nothing of what is inside
    return inside


def shapes_inside(tflite: bytes, samples: Sequence[np.ndarray]) -> dict[int, tuple[int, ...]]:
    """Returns the shapes of a file's tensors in a run, in a process that a crash may take down.

    Args:
        tflite: The file.
        samples: A sample, an array of shape (1, ...) for each input.

    Returns:
        The shapes by the tensors' numbers; none if the file does not run without XNNPACK.
    """
    try:
        shapes: dict[int, tuple[int, ...]] = _sandbox.call(
            run_for_shapes, tflite, tuple(samples), time_limit_s=_TIME_LIMIT_S
        )
    except (Crashed, Failed):
        return {}
    return shapes


def run_for_shapes(tflite: bytes, samples: tuple[np.ndarray, ...]) -> dict[int, tuple[int, ...]]:
    """Runs a sample through a file and tells the shapes of its tensors: called in a sandbox."""
    model = TFLiteModel(tflite, kernels="builtin")
    model.predict(samples)
    return model.shapes


def run_inside(
    tflite: bytes, samples: tuple[np.ndarray, ...], tensors: tuple[int, ...]
) -> list[np.ndarray]:
    """Runs samples through a file and keeps what tensors hold: called in a sandbox."""
    model = TFLiteModel(tflite, keep_tensors=True)
    steps = [
        [np.array(each) for each in values] for _, values in model.activations(samples, tensors)
    ]
    return [np.concatenate(column) for column in zip(*steps, strict=True)]


def check_types(inspection: Inspection, target: Target, kinds: Sequence[Sequence[str]]) -> None:
    """Checks that inputs and outputs have the types that the target asks for.

    Args:
        inspection: The file.
        target: What is asked for, of inputs and outputs that are real numbers.
        kinds: The model's own types of the inputs, and of the outputs.

    Raises:
        ConversionError: One has another type.
    """
    asked = (target.input_type, target.output_type)
    for tensors, own, real in zip(
        (inspection.inputs, inspection.outputs), kinds, asked, strict=True
    ):
        for tensor, kind in zip(tensors, own, strict=True):
            expected = real if kind.startswith(("float", "bfloat")) else kind
            if tensor.dtype != expected:
                raise ConversionError(
                    received=f"a file whose tensor {tensor} is not of the type asked for",
                    expected=f"{expected}, as {target.numerics} with input_type="
                    f"{target.input_type!r} and output_type={target.output_type!r} asks for",
                    fix="use input_type='float32' and output_type='float32'",
                )


def check_lstms(inspection: Inspection) -> None:
    """Checks that each quantized LSTM op reads its hidden state as it has written it.

    Where its output is concatenated with another, the converter changes the scale of the output
    alone; the file then runs, and is wrong.

    Raises:
        ConversionError: The scales differ.
    """
    for op in inspection.ops:
        if not op.name.endswith("SEQUENCE_LSTM"):
            continue
        _, state, *_ = (tensor for tensor in op.inputs if not tensor.constant)
        output = op.outputs[0]
        if (state.scales, state.zero_points) != (output.scales, output.zero_points):
            raise ConversionError(
                received=f"{op.name}, whose hidden state is stored with scale {state.scales} and "
                f"whose output with {output.scales}",
                expected="one scale for both, since the output is the next step's state",
                fix="do not concatenate the LSTM's output directly (merge_mode='sum', say)",
            )


def check_kept(inspection: Inspection, target: Target, layers: Mapping[str, str]) -> None:
    """Checks that the layers to keep in floating point have an op there.

    Args:
        inspection: The file.
        target: The target.
        layers: What the user's model calls each layer, by its name in the file.

    Raises:
        SettingError: One has only integer ops.
    """
    for name in target.keep_float:
        if not any(belongs(op, [name], layers) for op in _computing_in_float(inspection)):
            raise SettingError(
                received=f"keep_float with {name!r}, whose ops the converter makes integer ones",
                expected="a layer whose ranges are not stated by quantization-aware training, and "
                "that does more than to move data",
                fix=f"take {name!r} out of keep_float, or train without it",
            )


def float_ops_error(
    inspection: Inspection, target: Target, layers: Mapping[str, str]
) -> FloatOpsError | None:
    """Returns the error that a file of an integer target has ops in floating point; None if not.

    Ops of layers that the target keeps in floating point are as they should be.

    Args:
        inspection: The file.
        target: The target.
        layers: What the user's model calls each layer, by its name in the file.
    """
    if not target.integer_only or inspection.integer_only:
        return None
    computing = _computing_in_float(inspection)
    unasked = [op for op in computing if not belongs(op, target.keep_float, layers)]
    if computing and not unasked:
        return None
    ops = [_in_users_words(op, layers) for op in unasked or inspection.float_ops]
    where = ", ".join(dict.fromkeys(repr(op.layer) for op in ops if op.layer))
    other = "use exporter='tflite', " if target.exporter == "litert" else ""
    other += _INTEGER_INPUT * any(map(_makes_indices, unasked))
    other += _FEWER_STEPS * any(op.name == "WHILE" for op in unasked)
    other += _BYTE_INPUT * any(map(_makes_bytes_real, unasked))
    return FloatOpsError(
        received=f"{len(ops)} op(s) in floating point in a file for {target.numerics}: "
        + "; ".join(map(str, ops)),
        expected="integer ops only",
        fix=f"{other}replace {f'layer {where}' if where else 'what they come from'} by one that "
        "has an integer kernel, move it out of the model, or accept it with allow_float_ops=True",
    )


def _makes_bytes_real(op: Op) -> bool:
    """Whether an op makes real numbers of bytes, as a `Rescaling` of pixels does."""
    return op.name == "CAST" and op.inputs[0].dtype == "uint8" and op.outputs[0].is_float


def _makes_indices(op: Op) -> bool:
    """Whether an op makes integers of real numbers, as an embedding does of a real input."""
    return op.name == "CAST" and op.outputs[0].dtype in ("int32", "int64")


def _computing_in_float(inspection: Inspection) -> list[Op]:
    """The ops in floating point but for conversions, which are a consequence of the others."""
    return [op for op in inspection.float_ops if op.name not in ("QUANTIZE", "DEQUANTIZE")]


def _in_users_words(op: Op, layers: Mapping[str, str]) -> Op:
    name = layer_of(op, layers)
    return dataclasses.replace(op, layer=layers[name] if name else None)


def _does_not_run(
    failures: Mapping[str, Crashed | Failed], inspection: Inspection, layers: Mapping[str, str]
) -> ConversionError:
    said = [_happened(failure) for failure in failures.values()]
    node = re.search(r"Node number (\d+) \(", said[-1])  # XNNPACK numbers them otherwise
    op = None
    if "builtin" in failures and node and int(node[1]) < len(inspection.ops):
        op = _in_users_words(inspection.ops[int(node[1])], layers)
    fix = "convert the model cut short behind each of its layers to find the one, and replace it"
    if op is not None and op.layer:
        fix = f"replace layer {op.layer!r}, or move it out of the model"
    if "builtin" not in failures:
        said.append("without XNNPACK it runs")
    return ConversionError(
        received=f"a converted file on whose first run the interpreter {'; '.join(said)}"
        + (f"; at {op}" if op is not None else ""),
        expected="a file that runs",
        fix=fix,
    )


def _happened(failure: Crashed | Failed) -> str:
    if isinstance(failure, Failed):
        return f"fails ({failure.error})"
    last = [line for line in failure.printed.splitlines() if line and not line.startswith("INFO")]
    return f"crashes ({': '.join([failure.how, *last[-1:]])})"
