"""TensorFlow's converter, in a process of its own: from a traced function to the bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.errors import TfoptError
from tfopt.target import Target
from tfopt.tflite import frozen, quantizing
from tfopt.tflite.keeping import LayerNames
from tfopt.tflite.quiet import captured
from tfopt.tflite.sandbox import Crashed, Failed, Sandbox
from tfopt.tflite.tracing import Traced, input_name

_TIME_LIMIT_S = 1800.0
_NO_OUTPUT = "the converter printed nothing"
_sandbox = Sandbox(imports=__name__)

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

    In another process, since the converter ends its own on some models. From the frozen graph: a
    SavedModel, the other way, takes ten times as long to write and read, and puts numbers that
    count through the process into the file. Only a loop needs one, since freezing dissolves the
    functions by which the converter knows an LSTM.

    Args:
        traced: The model's inference.
        target: The numerics and types.
        samples: Calibration data where the target needs it.

    Raises:
        ConverterFailure: The converter raised an error, crashed or took too long.
        SettingError: A layer that is to stay in floating point has no op in the file.
        ConversionError: An activation is not finite on the samples.
    """
    with tempfile.TemporaryDirectory() as directory:
        for index, array in enumerate(samples or ()):
            np.save(f"{directory}/{index:05d}.npy", array)
        convert = run_saved if traced.loops else run_frozen
        try:
            with captured():
                if traced.loops:
                    _save(traced, directory)
                else:
                    frozen.write(traced.function, directory)
        except Exception as error:
            raise ConverterFailure(f"TensorFlow cannot write the model's graph: {error}") from error
        try:
            names = LayerNames.of(traced)
            made = _sandbox.call(convert, directory, target, names, time_limit_s=_TIME_LIMIT_S)
        except Crashed as error:
            raise ConverterFailure(error.printed or _NO_OUTPUT, crash=error.how) from error
        except Failed as error:
            raise ConverterFailure(str(error)) from error
    if isinstance(made, Exception):
        raise made
    converted: bytes = made
    return converted


def prepare() -> None:
    """Starts the process that converts, which imports TensorFlow while something else is done."""
    _sandbox.start()


def _save(traced: Traced, directory: str) -> None:
    module = tf.Module()
    module.variables_of_model = traced.model.variables
    tf.saved_model.save(module, f"{directory}/model", signatures=traced.function)


def run_frozen(directory: str, target: Target, names: LayerNames) -> bytes | Exception:
    """Converts the frozen graph and the calibration data in a directory: called in a sandbox.

    Returns an error instead of raising it: one of ours, or a `ConverterFailure`.
    """
    samples = [np.load(file, mmap_mode="r") for file in sorted(Path(directory).glob("*.npy"))]
    with captured() as printed:
        try:
            converter = frozen.Converter(directory)
            return _converted(converter, target, samples or None, _by_position, names)
        except TfoptError as error:
            return error
        except Exception as error:
            return ConverterFailure(f"{error}\n{printed()}")


def run_saved(directory: str, target: Target, names: LayerNames) -> bytes | TfoptError:
    """Converts the SavedModel and the calibration data in a directory: called in a sandbox.

    Returns an error of ours instead of raising it, since all others are the converter's.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(os.path.join(directory, "model"))
    files = sorted(Path(directory).glob("*.npy"))
    samples = [np.load(file, mmap_mode="r") for file in files]
    try:
        return _converted(converter, target, samples or None, _by_name, names)
    except TfoptError as error:
        return error


def _converted(
    converter: Any,
    target: Target,
    samples: Samples,
    feed: Callable[[Sequence[np.ndarray]], Callable[[], Iterator[Any]]],
    names: LayerNames,
) -> bytes:
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
    if target.needs_calibration and samples is not None:
        quantizing.quantize_with(
            converter,
            target,
            feed=feed(samples),
            samples={input_name(index): array for index, array in enumerate(samples)},
            names=names,
        )
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
