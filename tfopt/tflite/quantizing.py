"""The second half of TensorFlow's converter, with ranges and float ops of our choice.

The converter turns a float file into an integer one in two steps: calibration writes the range of
each activation into the file, and a quantizer reads them there. Between the two, the ranges can be
made others, for any op and layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.optimize import calibrator

from tfopt.data import Arrays
from tfopt.errors import SettingError
from tfopt.target import Target
from tfopt.tflite import bypasses, keeping, schema
from tfopt.tflite.calibration.choosing import ranged
from tfopt.tflite.keeping import LayerNames
from tfopt.tflite.tracing import input_name


def quantize_with(
    converter: Any,
    target: Target,
    *,
    feed: Callable[[], Iterator[Any]],
    samples: Arrays,
    names: LayerNames,
) -> None:
    """Makes a converter choose ranges, and what stays in floating point, as a target says.

    Args:
        converter: A `TFLiteConverter`.
        target: The method of calibration, and the layers to keep.
        feed: Gives the samples one at a time, as the converter takes them.
        samples: The same by the names of the converter's inputs, all at once.
        names: The model's layers.
    """
    inputs = {input_name(index): name for index, name in enumerate(names.inputs)}

    def quantize(
        tflite: bytes,
        input_type: tf.DType,
        output_type: tf.DType,
        activations_type: tf.DType,
        bias_type: tf.DType,
        allow_float: bool,
        enable_variable_quantization: bool,
        debug_options: Any,
    ) -> bytes:
        """Stands for `TFLiteConverterBase._quantize`."""
        tflite = bypasses.closed(tflite)
        kept = keeping.float_tensors(tflite, target.keep_float, names)
        tflite = _calibrated(calibrator.add_intermediate_tensors(tflite), feed)
        tflite = ranged(tflite, samples, target, {**names.scopes, **inputs})
        if activations_type == tf.int16:
            types = (input_type, output_type, allow_float, activations_type, bias_type)
            return _with_16_bits(tflite, *types)
        return mlir_quantize(
            tflite,
            input_data_type=input_type,
            output_data_type=output_type,
            enable_variable_quantization=enable_variable_quantization,
            denylisted_nodes=kept,
            debug_options_str=debug_options.SerializeToString(),
        )

    converter.representative_dataset = feed
    converter._quantize = quantize


def check(target: Target) -> None:
    """Refuses what the converter's quantizers cannot do.

    Raises:
        SettingError: Layers are to stay in floating point among 16-bit activations.
    """
    if target.keep_float and target.numerics == "int16x8" and target.exporter == "tflite":
        raise SettingError(
            received=f"keep_float={target.keep_float!r} with numerics='int16x8'",
            expected="exporter='litert', or numerics='int8': TensorFlow's quantizer for 16-bit "
            "activations keeps no op in floating point",
            fix=f"use Target.int16x8(exporter='litert', keep_float={target.keep_float!r}), or "
            "Target.int8() with keep_float, or leave keep_float out",
        )


def _calibrated(tflite: bytes, feed: Callable[[], Iterator[Any]]) -> bytes:
    """Returns a float file with the extremes of its activations.

    The calibrator looks at what an op reads once the op has run. A sum is written over one of what
    it adds up, whose range would be that of the sum as well: every activation is made an output
    meanwhile, which nothing is written over.
    """
    model = schema.unpack(tflite)
    main = model.subgraphs[0]
    outputs, made = main.outputs, [op.outputs for op in main.operators or []]
    main.outputs = np.unique(np.concatenate([outputs, *made])).astype(np.int32)
    model = schema.unpack(calibrator.Calibrator(schema.pack(model)).calibrate(feed))
    model.subgraphs[0].outputs = outputs
    return schema.pack(model)


def _with_16_bits(
    tflite: bytes,
    input_type: tf.DType,
    output_type: tf.DType,
    allow_float: bool,
    activations_type: tf.DType,
    bias_type: tf.DType,
) -> bytes:
    """Quantizes with the older quantizer, which alone makes 16-bit activations that run.

    The converter calibrates a second time for it; not fed with samples, it takes the ranges that
    are in the file.
    """

    def number(kind: tf.DType) -> int:
        return np.dtype(kind.as_numpy_dtype()).num

    quantizer = calibrator.Calibrator(tflite)._calibrator
    quantized: bytes = quantizer.QuantizeModel(
        number(input_type),
        number(output_type),
        allow_float,
        number(activations_type),
        number(bias_type),
        False,  # scales per channel, in dense layers as well
        False,
    )
    return quantized
