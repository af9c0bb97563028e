"""TensorFlow's converter: from a traced function to the bytes it writes, in process or apart."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.target import Target
from tfopt.tflite.quiet import captured
from tfopt.tflite.sandbox import Crashed, Failed, Sandbox
from tfopt.tflite.tracing import Traced, input_name

_TIME_LIMIT_S = 1800.0
_NO_OUTPUT = "the converter printed nothing"
_sandbox = Sandbox()

Samples = Sequence[np.ndarray] | None
"""Calibration data: one array for each input in the model's order, of the model's types."""


class ConverterFailure(Exception):
    """The converter failed; the text is all it said.

    Args:
        said: Its error and what it printed.
        crash: How its process ended, such as `"SIGSEGV"`; empty if it raised an error.
    """

    def __init__(self, said: str, *, crash: str = "") -> None:
        self.crash = crash
        super().__init__(said)


def run(traced: Traced, target: Target, samples: Samples) -> bytes:
    """Converts a traced model.

    From the frozen graph: a SavedModel, the other way, takes ten times as long to write and read,
    and puts numbers that count through the process into the file. Only a loop needs one, since
    freezing dissolves the functions by which the converter knows an LSTM; it is then converted in
    a process of its own, because the converter may crash on loops.

    Args:
        traced: The model's inference.
        target: The numerics and types.
        samples: Calibration data where the target needs it.

    Raises:
        ConverterFailure: The converter raised an error, crashed or took too long.
    """
    if traced.loops:
        return _run_apart(traced, target, samples)
    feed = _by_position(samples) if samples is not None else None
    with captured() as printed:
        try:
            converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.function])
            return _converted(converter, target, feed)
        except Exception as error:
            raise ConverterFailure(f"{error}\n{printed()}") from error


def _run_apart(traced: Traced, target: Target, samples: Samples) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        module = tf.Module()
        module.variables_of_model = traced.model.variables
        with captured():
            tf.saved_model.save(module, f"{directory}/model", signatures=traced.function)
        for index, array in enumerate(samples or ()):
            np.save(f"{directory}/{index:05d}.npy", array)
        try:
            return _sandbox.call(run_saved, directory, target, time_limit_s=_TIME_LIMIT_S)
        except Crashed as error:
            raise ConverterFailure(error.printed or _NO_OUTPUT, crash=error.how) from error
        except Failed as error:
            raise ConverterFailure(str(error)) from error


def run_saved(directory: str, target: Target) -> bytes:
    """Converts the SavedModel and the calibration data in a directory: called in a sandbox."""
    converter = tf.lite.TFLiteConverter.from_saved_model(os.path.join(directory, "model"))
    files = sorted(Path(directory).glob("*.npy"))
    samples = [np.load(file, mmap_mode="r") for file in files]
    return _converted(converter, target, _by_name(samples) if samples else None)


def _converted(converter: Any, target: Target, feed: Callable[[], Iterator[Any]] | None) -> bytes:
    ops = tf.lite.OpsSet
    converter.exclude_conversion_metadata = True  # a hash and version numbers, in every file
    converter.inference_input_type = tf.dtypes.as_dtype(target.input_type)
    converter.inference_output_type = tf.dtypes.as_dtype(target.output_type)
    if target.numerics != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if target.numerics == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif target.numerics == "int8":
        converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8]
    elif target.numerics == "int16x8":
        converter.target_spec.supported_ops = [
            ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            ops.TFLITE_BUILTINS,  # else it stops at the first op in floating point, unnamed
        ]
    if target.needs_calibration:
        converter.representative_dataset = feed
    return converter.convert()


def _by_position(samples: Sequence[np.ndarray]) -> Callable[[], Iterator[list[np.ndarray]]]:
    """Feeds one sample at a time, as a frozen graph takes it: in the order of its inputs."""
    return lambda: ([array[i : i + 1] for array in samples] for i in range(len(samples[0])))


def _by_name(samples: Sequence[np.ndarray]) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    """Feeds one sample at a time by name, since a SavedModel has no order of inputs."""
    return lambda: (
        {input_name(k): np.ascontiguousarray(a[i : i + 1]) for k, a in enumerate(samples)}
        for i in range(len(samples[0]))
    )
