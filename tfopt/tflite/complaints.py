"""The converter's complaints, which speak of its own insides, as errors that name Keras layers."""

from __future__ import annotations

import re

from tfopt.errors import ConversionError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.tflite import naming
from tfopt.tflite.converter import ConverterFailure
from tfopt.tflite.tracing import MOST_STEPS, Traced

_ADVICE = {
    "SpaceToBatchND": "dilate a Conv2D in TimeDistributed instead of a Conv3D",
    "ResizeBicubic": "resize with interpolation='bilinear'",
    "AvgPool3D": "give the volumes a fixed size, Input((depth, height, width, channels))",
    "MaxPool3D": "give the volumes a fixed size, Input((depth, height, width, channels))",
    "TensorListReserve": "give the sequence a fixed length, Input((steps, features))",
}


def explained(failure: ConverterFailure, traced: Traced, target: Target) -> ConversionError:
    """Returns what the converter said in terms of the user's model.

    Args:
        failure: What it said, or how it ended.
        traced: The model it was given.
        target: What it was asked for.
    """
    said = str(failure)
    layers = [traced.layers[name] for name in naming.mentioned(said, traced.names)]
    where = f" at layer {', '.join(map(repr, layers))}" if layers else ""
    ops = re.findall(r"(?:TF Select|Custom) ops: (.+)", said)
    unsupported = list(dict.fromkeys(op.strip() for line in ops for op in line.split(",")))
    if unsupported:
        advice = [_ADVICE[op] for op in unsupported if op in _ADVICE]
        return ConversionError(
            received=f"TensorFlow op(s) {', '.join(unsupported)}{where}",
            expected="ops that TensorFlow Lite has",
            fix="; ".join(advice) or "replace the layer, or move it out of the model",
        )
    if traced.loops:
        return _loop_error(failure, traced, target)
    if re.search("Unsupported (input|output) type", said):
        return ConversionError(
            received="an op that reads an input or writes an output in floating point",
            expected=f"{target.input_type} inputs and {target.output_type} outputs",
            fix="convert with input_type='float32', output_type='float32' to see the op named",
        )
    if failure.crash:
        return ConversionError(
            received=f"a model at which the converter stops ({failure.crash})",
            expected=f"a model that it takes for {target.numerics}",
            fix="convert the model cut short behind each of its layers to find the one, and "
            "replace it",
        )
    reasons = re.findall(r"error: (.+)", said) or said.strip().splitlines() or ["no reason given"]
    return ConversionError(
        received=f"a model at which the converter stops{where}: {reasons[0]}",
        expected=f"a model that it takes for {target.numerics}",
        fix="replace the layer, or move it out of the model",
    )


def _loop_error(failure: ConverterFailure, traced: Traced, target: Target) -> ConversionError:
    recurrent = [
        repr(layer.name)
        for layer in traced.model._flatten_layers()
        if isinstance(layer, tf_keras.layers.RNN)
    ]
    ending = f" ({failure.crash})" if failure.crash else ""
    return ConversionError(
        received=f"a loop at which the converter stops{ending}"
        + (f", in recurrent layer {', '.join(recurrent)}" if recurrent else ""),
        expected=f"for {target.numerics}, recurrent layers over a known number of steps, at most "
        f"{MOST_STEPS}, which are unrolled",
        fix="give the sequence a fixed length, as in Input((steps, features))",
    )
