"""The LiteRT Quantizer: integer files made of a float one, with ranges of our calibration."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema_types

from tfopt.errors import ConversionError
from tfopt.optional import require
from tfopt.target import Target
from tfopt.tflite import naming, schema
from tfopt.tflite.calibration import observing, tensors
from tfopt.tflite.calibration.choosing import ranged
from tfopt.tflite.calibration.histogram import Range
from tfopt.tflite.finishing import drop_orphans
from tfopt.tflite.inspect import inspect
from tfopt.tflite.keeping import belongs
from tfopt.tflite.quiet import captured
from tfopt.tflite.sandbox import Crashed, Failed, Sandbox

_TIME_LIMIT_S = 1800.0
_BITS = {"int8": 8, "int16x8": 16}
_ANY = ".*"
_sandbox = Sandbox()


def check(target: Target) -> None:
    """Refuses a target before any work, if the LiteRT Quantizer is asked for and not there.

    Raises:
        MissingPackageError: It is not installed.
    """
    if target.exporter == "litert":
        require("litert_quantizer", extra="litert", purpose="exporter='litert'")


def quantized(
    tflite: bytes, target: Target, samples: Sequence[np.ndarray], layers: Mapping[str, str]
) -> bytes:
    """Quantizes a float file with the LiteRT Quantizer, in a process that a crash may take down.

    What it has no recipe for stays in floating point without a word: inspect the file.

    Args:
        tflite: The finished float file.
        target: The numerics and types: `int8`, `int16x8`, `dynamic_range` or `float16`; its method
            of calibration, and layers to keep in floating point.
        samples: The inputs that activation ranges are calibrated with, in the file's order.
        layers: The user's name of each layer, by its name in the file.

    Raises:
        ConversionError: The quantizer fails on the file.

    References:
        https://ai.google.dev/edge/litert/conversion/quantization (the LiteRT Quantizer).
    """
    tflite = _with_unique_names(tflite)
    kept = [
        "".join(f"{tensor.name};" for tensor in op.outputs)
        for op in inspect(tflite).ops
        if belongs(op, target.keep_float, layers)
    ]
    ranges = _ranges(tflite, target, samples) if target.needs_calibration else {}
    arguments = (tflite, target, tuple(kept), ranges)
    try:
        content = _sandbox.call(quantize, *arguments, time_limit_s=_TIME_LIMIT_S)
    except (Crashed, Failed) as error:
        raise ConversionError(
            received=f"a model on which the LiteRT Quantizer fails ({_said(error)})",
            expected=f"a model that it takes for {target.numerics}",
            fix="use exporter='tflite', the default",
        ) from error
    return _mended(content)


def quantize(
    tflite: bytes, target: Target, kept: Collection[str], ranges: Mapping[str, Range]
) -> bytes:
    """Runs the LiteRT Quantizer: called in a sandbox.

    Args:
        tflite: The float file.
        target: The numerics and types.
        kept: What the ops that stay in floating point write.
        ranges: Of the activations, by the tensor's name.
    """
    library = require("litert_quantizer.quantizer", extra="litert", purpose="exporter='litert'")
    quantizer = library.Quantizer(bytearray(tflite))
    _add_recipe(quantizer, target)
    for name in kept:
        _leave(quantizer, f"^{re.escape(name)}$", "*")
    statistics = {
        name: {"min": np.full((1, 1), low), "max": np.full((1, 1), high)}
        for name, (low, high) in ranges.items()
    }
    result = quantizer.quantize(statistics or None, enable_progress_report=False)
    return bytes(result.quantized_model)


def _add_recipe(quantizer: Any, target: Target) -> None:
    """Says what becomes of all ops, and of the inputs and outputs."""
    if target.numerics == "dynamic_range":
        quantizer.add_dynamic_config(_ANY, "*", 8)
        return
    if target.numerics == "float16":
        quantizer.add_weight_only_config(_ANY, "*", 16, algorithm_key="float_casting")
        return
    quantizer.add_static_config(_ANY, "*", _BITS[target.numerics], 8)
    for end, kind in (("INPUT", target.input_type), ("OUTPUT", target.output_type)):
        if kind == "float32":
            _leave(quantizer, _ANY, end)
        elif kind == "uint8":
            _make_unsigned(quantizer, end)


def _leave(quantizer: Any, scope: str, op: str) -> None:
    """Says that ops stay in floating point."""
    quantizer.update_quantization_recipe(scope, op, algorithm_key="no_quantize")


def _make_unsigned(quantizer: Any, end: str) -> None:
    """Says that the inputs or outputs are of unsigned bytes."""
    types = require("litert_quantizer.qtyping", extra="litert", purpose="exporter='litert'")
    bytes_of_any_sign = types.TensorQuantizationConfig(num_bits=8, symmetric=False, dtype="UINT")
    weights = types.TensorQuantizationConfig(num_bits=8, granularity="CHANNELWISE")
    config = types.OpQuantizationConfig(bytes_of_any_sign, weights, "INTEGER")
    quantizer.update_quantization_recipe(_ANY, end, config)


def _ranges(tflite: bytes, target: Target, samples: Sequence[np.ndarray]) -> dict[str, Range]:
    """The ranges of the activations by the target's method, by the tensors' names."""
    model = schema.unpack(tflite)
    found = inspect(tflite)
    activations = [
        tensor.index
        for tensor in found.tensors
        if tensor.is_float and not tensor.constant and tensor.subgraph == 0
    ]
    with captured():
        extremes = observing.sample_extremes(tflite, tuple(samples), activations)
    for index in activations:
        model.subgraphs[0].tensors[index].quantization = schema_types.QuantizationParametersT()
    tensors.write(model, {i: Range(e[:, 0].min(), e[:, 1].max()) for i, e in extremes.items()})
    with captured():
        calibrated = schema.unpack(ranged(schema.pack(model), tuple(samples), target, {}))
    names = {tensor.index: tensor.name for tensor in found.tensors if tensor.subgraph == 0}
    return {names[index]: ends for index, ends in tensors.calibrated(calibrated).items()}


def _with_unique_names(tflite: bytes) -> bytes:
    """Returns a file whose tensors have a name each: the quantizer knows them by name."""
    model = schema.unpack(tflite)
    found = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    names = naming.unique([schema.text(tensor.name) for tensor in found])
    for tensor, name in zip(found, names, strict=True):
        tensor.name = name.encode()
    return schema.pack(model)


def _mended(content: bytes) -> bytes:
    """Returns what the quantizer wrote with open shapes, its outputs as they were, and no more.

    The signature goes: it is made anew of the model's inputs and outputs.
    """
    model = schema.unpack(content)
    for graph in model.subgraphs:
        outputs = [graph.tensors[index] for index in graph.outputs]
        for tensor in outputs:
            tensor.name = re.sub(b"_(de)?quant(ized)?$", b"", tensor.name)
        names = [tensor.name for tensor in outputs]
        for tensor in graph.tensors:
            if tensor.name in names and all(tensor is not output for output in outputs):
                tensor.name += b"/Quantized"
        for operator in graph.operators:
            read, made = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
            if _is(model, operator, "QUANTIZE", "DEQUANTIZE") and made.shapeSignature is None:
                made.shapeSignature = read.shapeSignature
        _read_shapes_of_integers(model, graph)
    model.signatureDefs = None
    drop_orphans(model)
    return schema.pack(model)


def _read_shapes_of_integers(model: Any, graph: Any) -> None:
    """Lets SHAPE ops read quantized tensors, which the quantizer turns into floats for them."""
    made = {int(op.outputs[0]): op for op in graph.operators if _is(model, op, "DEQUANTIZE")}
    for op in graph.operators:
        if _is(model, op, "SHAPE") and int(op.inputs[0]) in made:
            op.inputs = made[int(op.inputs[0])].inputs
    read = {*schema.integers(graph.outputs)}
    for op in graph.operators:
        read.update(schema.integers(op.inputs))
    unread = [op for index, op in made.items() if index not in read]
    graph.operators = [op for op in graph.operators if op not in unread]


def _is(model: Any, operator: Any, *kinds: str) -> bool:
    return schema.op_name(model.operatorCodes[operator.opcodeIndex]) in kinds


def _said(error: Crashed | Failed) -> str:
    return error.how if isinstance(error, Crashed) else error.error
