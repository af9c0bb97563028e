"""A Keras model as one TensorFlow function, traced so that the file depends on the model alone."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Any
from unittest import mock

import tensorflow as tf

from tfopt.errors import ModelError
from tfopt.keras_gate import tf_keras
from tfopt.tflite import naming
from tfopt.tflite.rewrites.tracing import rewritten

MOST_STEPS = 512
"""Recurrent layers over longer sequences are not unrolled: a step takes about ten ops."""

_lock = threading.Lock()  # the model, and modules of Keras and TensorFlow, are changed meanwhile
_HALF = ("float16", "bfloat16")
_LOOPS = frozenset({"While", "StatelessWhile"})
_FAKE_QUANTIZATION = (
    "fake_quant_with_min_max_args",
    "fake_quant_with_min_max_vars",
    "fake_quant_with_min_max_vars_per_channel",
)


@dataclasses.dataclass(frozen=True)
class Traced:
    """A model's inference as a TensorFlow function.

    Args:
        function: The concrete function; inputs and outputs in the model's order.
        names: What the layer of each scope is called in the file; `""` for the model itself.
        layers: What the user's model calls each layer, by its name in the file.
        inputs: The names of the inputs, in order.
        outputs: The names of the outputs, in order.
        loops: Whether the graph holds a loop, as recurrent layers have. The converter knows some,
            and kills the process at others.
        model: The model, whose variables the function reads.
    """

    function: Any
    names: dict[str, str]
    layers: dict[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    loops: bool
    model: tf_keras.Model

    @property
    def input_types(self) -> list[str]:
        """The types the function takes, which need not be the model's."""
        specs = self.function.structured_input_signature[0]
        return [spec.dtype.name for spec in specs]


def trace(
    model: tf_keras.Model,
    *,
    batch: int | None,
    lstm_ops: bool,
    fake_quantized: bool,
    keep_names: Collection[str] = (),
    integer: bool = False,
    wide: bool = False,
    bytes_as_reals: bool = False,
    shapes: Sequence[Sequence[int]] | None = None,
) -> Traced:
    """Traces a model in inference mode, each layer under its position instead of its name.

    Automatic names count through the whole process, and TensorFlow orders by name what it
    converts: traced by name, one model would give several files.

    Args:
        model: A built tf_keras functional model; it is left as it was.
        batch: Samples in a batch; None leaves it open, so that the file can run any number.
        lstm_ops: Leave LSTMs whole, for TensorFlow Lite's op. Other recurrent layers are unrolled
            in time, since the converter crashes on their loops.
        fake_quantized: Keep the fake quantization of a quantization-aware model. Without it, the
            model computes with the trained weights in floating point.
        keep_names: Names of inputs and outputs that data goes by: kept in the file even if Keras
            made them.
        integer: The file is to compute with integers: ops without an integer kernel are rewritten.
        wide: Some of its activations have 16 bits, which fewer ops have kernels for.
        bytes_as_reals: Trace inputs of uint8 that the model only turns into real numbers as such.
        shapes: The inputs' shapes, the batch left out, if not the model's own, which may be open.

    Raises:
        ModelError: TensorFlow cannot trace the model; its error is chained.
    """
    layers = list(dict.fromkeys(model._flatten_layers()))
    scopes = naming.scopes(layers)
    names = naming.file_names(layers, keep=keep_names)
    sizes = shapes or [tensor.shape[1:] for tensor in model.inputs]
    kinds = [tensor.dtype for tensor in model.inputs]

    @tf.function
    def infer(*inputs):  # type: ignore[no-untyped-def]  # noqa: ANN202 - AutoGraph reads it
        given = tf.nest.pack_sequence_as(model.input, list(inputs))
        outputs = tf.nest.flatten(model(given, training=False))
        return {output_name(index): output for index, output in enumerate(outputs)}

    quantization = contextlib.nullcontext() if fake_quantized else _without_fake_quantization()
    ops = rewritten(integer=integer, wide=wide)
    time = contextlib.nullcontext() if lstm_ops else _unrolled(layers)
    try:
        with _lock, _scoped(layers, scopes), _in_full_precision(layers), time, quantization, ops:
            function = infer.get_concrete_function(*_specs(batch, sizes, kinds))
            if bytes_as_reals and any(only_reals := _only_made_real(function)):
                kinds = [
                    tf.float32 if real else kind
                    for kind, real in zip(kinds, only_reals, strict=True)
                ]
                function = infer.get_concrete_function(*_specs(batch, sizes, kinds))
    except Exception as error:
        raise _cannot_trace(model, error) from error
    return Traced(
        function=function,
        names={scopes[id(x)]: "" if x is model else names[id(x)] for x in layers},
        layers={names[id(x)]: naming.seen_through(x).name for x in layers if x is not model},
        inputs=naming.unique([names[id(x._keras_history.layer)] for x in model.inputs]),
        outputs=naming.unique(_output_names(model, names, keep_names)),
        loops=_has_loops(function),
        model=model,
    )


def _output_names(model: Any, names: dict[int, str], keep: Collection[str]) -> list[str]:
    """What outputs are called in the file: as before another layer came to round them."""
    known = {naming.seen_through(layer).name: names[id(layer)] for layer in model.layers}
    known |= {name: name for name in keep}
    return [
        known.get(given, names[id(tensor._keras_history.layer)])
        for given, tensor in zip(model.output_names, model.outputs, strict=True)
    ]


def _specs(
    batch: int | None, sizes: Sequence[Any], kinds: Sequence[tf.DType]
) -> list[tf.TensorSpec]:
    return [
        tf.TensorSpec([batch, *size], kind, name=input_name(index))
        for index, (size, kind) in enumerate(zip(sizes, kinds, strict=True))
    ]


def _only_made_real(function: Any) -> list[bool]:
    """Which inputs are bytes that nothing is done with but to make them real numbers."""

    def made_real(consumer: tf.Operation) -> bool:
        return consumer.type == "Cast" and consumer.outputs[0].dtype == tf.float32

    return [
        tensor.dtype == tf.uint8
        and bool(users := tensor.consumers())
        and all(map(made_real, users))
        for tensor in function.inputs[: len(function.structured_input_signature[0])]
    ]


def has_lstm_ops(model: tf_keras.Model) -> bool:
    """Returns whether a model's recurrent layers are all plain LSTMs, which TensorFlow Lite has."""
    layers = list(model._flatten_layers())
    recurrent = [layer for layer in layers if isinstance(layer, tf_keras.layers.RNN)]
    masked = any(
        getattr(layer, "mask_zero", False) or isinstance(layer, tf_keras.layers.Masking)
        for layer in layers
    )
    return bool(recurrent) and not masked and all(map(_is_plain_lstm, recurrent))


def _is_plain_lstm(layer: Any) -> bool:
    plain = isinstance(layer, tf_keras.layers.LSTM) and layer._could_use_gpu_kernel
    begins_at_zero = not layer.inbound_nodes or len(tf.nest.flatten(layer.input)) == 1
    return plain and begins_at_zero and not layer.stateful


def has_recurrent_layers(model: tf_keras.Model) -> bool:
    """Returns whether a layer of a model repeats a cell for each step of time."""
    return any(isinstance(layer, tf_keras.layers.RNN) for layer in model._flatten_layers())


def input_name(index: int) -> str:
    """Returns what an input is called while it is converted: sorting keeps the model's order."""
    return f"input_{index:05d}"


def output_name(index: int) -> str:
    """Returns what an output is called while it is converted."""
    return f"output_{index:05d}"


@contextlib.contextmanager
def _scoped(layers: Sequence[Any], scopes: dict[int, str]) -> Iterator[None]:
    """Makes the layers open their own scopes instead of their names while they are called."""

    def opens(scope: str) -> Any:
        def name_scope() -> str:
            return "/".join(part for part in (tf.get_current_name_scope(), scope, "") if part) + "/"

        return name_scope

    try:
        for layer in layers:
            # beside Keras' own attribute tracking, which would make the function part of the model
            vars(layer)["_name_scope"] = opens(scopes[id(layer)])
        yield
    finally:
        for layer in layers:
            vars(layer).pop("_name_scope", None)


@contextlib.contextmanager
def _in_full_precision(layers: Sequence[Any]) -> Iterator[None]:
    """Makes layers trained in mixed precision compute in the type of their variables.

    TensorFlow Lite has no op for 16-bit floats.
    """
    policies = [(layer, layer.dtype_policy) for layer in layers]
    mixed = [(x, policy) for x, policy in policies if policy.compute_dtype in _HALF]
    try:
        for layer, policy in mixed:
            layer._set_dtype_policy(policy.variable_dtype)
        yield
    finally:
        for layer, policy in mixed:
            layer._set_dtype_policy(policy)


@contextlib.contextmanager
def _unrolled(layers: Sequence[Any]) -> Iterator[None]:
    """Makes recurrent layers repeat their cell for each step of time instead of looping."""
    from tf_keras.src import backend

    loop = backend.rnn

    def rnn(step: Any, inputs: Any, *args: Any, **settings: Any) -> Any:
        axis = 0 if settings.get("time_major") else 1
        steps = tf.nest.flatten(inputs)[0].shape[axis]
        if steps is not None and steps <= MOST_STEPS:
            settings["unroll"] = True
        return loop(step, inputs, *args, **settings)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(backend, "rnn", rnn))
        for layer in layers:
            if hasattr(layer, "_could_use_gpu_kernel"):  # LSTM, GRU: a way around backend.rnn
                stack.enter_context(mock.patch.object(layer, "_could_use_gpu_kernel", False))
        yield


@contextlib.contextmanager
def _without_fake_quantization() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in _FAKE_QUANTIZATION:
            stack.enter_context(mock.patch.object(tf.quantization, name, _unchanged))
        yield


def _unchanged(inputs: tf.Tensor, *args: Any, **settings: Any) -> tf.Tensor:
    return inputs


def _has_loops(function: Any) -> bool:
    graph = function.graph.as_graph_def()
    nodes = [graph.node, *(called.node_def for called in graph.library.function)]
    return any(node.op in _LOOPS for group in nodes for node in group)


def _cannot_trace(model: tf_keras.Model, error: Exception) -> ModelError:
    said = str(error)
    layer = re.search(r"when calling layer [\"']([^\"']+)", said)
    # Keras and AutoGraph wrap the reason in where it happened, the outermost first
    inner = re.split(r"when calling layer .*\n", said)[-1].strip().splitlines() or ["no reason"]
    raised = [line.strip() for line in inner if re.match(r"\s*\w+(Error|Exception): ", line)]
    reason = raised[-1] if raised else f"{type(error).__name__}: {inner[0]}"
    where = f" in layer {layer[1]!r}" if layer else ""
    return ModelError(
        received=f"model {model.name!r}, whose trace fails{where} with "
        f"{re.split(' for .{{node', reason)[0]}",
        expected="a functional model that TensorFlow can trace for inference",
        fix="call the model on one sample with training=False, and mend what fails",
    )
