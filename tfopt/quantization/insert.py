"""Putting fake quantization into a model, and proving that it changed nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt import facts
from tfopt.errors import TechniqueError
from tfopt.graph.calls import KerasTensor, Layer, built_copy, nodes, outputs, rebuild
from tfopt.keras_gate import tf_keras
from tfopt.quantization.grid import CHANNEL_AXES
from tfopt.quantization.kernels import (
    KernelConfig,
    KernelQuantizer,
    KernelWrapper,
    channels_share_values,
)
from tfopt.quantization.layout import Layout, computes_activation
from tfopt.quantization.ranges import (
    RunningRange,
    has_mask,
    is_quantize_layer,
    is_wrapper,
    quantize_layer,
)

# Two graphs of the same operations differ by rounding at most.
_SAME = 1e-4


@dataclasses.dataclass(frozen=True)
class FakeQuantized:
    """A float model and its fake-quantized double, which shares the layers without kernels.

    Args:
        float_model: The model without fake quantization.
        model: The model with it.
        doubles: The fake-quantized model's tensors by the id of the float model's.
        ranges: The float model's rounded tensors, each with the layer that rounds its double.
    """

    float_model: tf_keras.Model
    model: tf_keras.Model
    doubles: dict[int, KerasTensor]
    ranges: list[tuple[KerasTensor, Layer]]

    def layers_behind(self, names: frozenset[str]) -> frozenset[str]:
        """Returns the names of the layers that round the outputs of the layers named."""
        return frozenset(
            layer.name for tensor, layer in self.ranges if tensor.node.layer.name in names
        )


def separate_activations(
    model: tf_keras.Model, touched: frozenset[str]
) -> tuple[tf_keras.Model, frozenset[str]]:
    """Makes layers of their own of the activations in front of which the file rounds.

    `Dense(10, activation="softmax")` rounds its sums to 8 bits and then takes the softmax: to be
    fake-quantized, the sums must be a layer's output.

    Args:
        model: A functional model.
        touched: Names of the layers that may be changed.

    Returns:
        The model with such layers taken apart: the first part keeps the name, the second is called
        `<name>_<activation>`. And `touched`, with the names of the second parts.
    """
    if not any(layer.name in touched and computes_activation(layer) for layer in model.layers):
        return model, touched
    names = {layer.name for layer in model.layers}
    activations: dict[str, Layer] = {}

    def replace(layer: Layer) -> Layer:
        if layer.name not in touched or not computes_activation(layer):
            return layer
        function = layer.activation
        activations[layer.name] = tf_keras.layers.Activation(
            function,
            activity_regularizer=layer.activity_regularizer,
            name=_free_name(f"{layer.name}_{getattr(function, '__name__', 'activation')}", names),
        )
        return _copy(layer, {"activation": "linear", "activity_regularizer": None})

    def follow(old: KerasTensor, new: KerasTensor) -> KerasTensor:
        activation = activations.get(old.node.layer.name)
        return activation(new) if activation is not None else new

    separated, _ = rebuild(model, replace=replace, follow=follow)
    return separated, touched | {layer.name for layer in activations.values()}


def insert(
    model: tf_keras.Model, layout: Layout, found: tuple[facts.KernelFacts, ...]
) -> FakeQuantized:
    """Returns a model together with its double that is fake-quantized where a layout says.

    Args:
        model: A functional float model.
        layout: What of it is to be fake-quantized.
        found: What is true of its kernels, and to be kept so.
    """
    gains = {(fact.layer, fact.kernel): fact for fact in found}
    names = {layer.name for layer in model.layers}
    ranges: list[tuple[KerasTensor, Layer]] = []

    def replace(layer: Layer) -> Layer:
        if layer.name not in layout.kernels:
            return layer
        quantizers = {
            kernel: _quantizer(layer, kernel, gains[layer.name, kernel], layout)
            for kernel in CHANNEL_AXES[type(layer)]
        }
        return KernelWrapper(_copy(layer), KernelConfig(quantizers))

    def follow(old: KerasTensor, new: KerasTensor) -> KerasTensor:
        if id(old) not in layout.tensors:
            return new
        name = _free_name(f"{old.node.layer.name}_quantize", names)
        ranges.append((old, quantize_layer(RunningRange(), name, masked=has_mask(new))))
        return ranges[-1][1](new)

    wrapped, doubles = rebuild(model, replace=replace, follow=follow)
    return FakeQuantized(model, wrapped, doubles, ranges)


def check_same_function(pair: FakeQuantized, inputs: Sequence[Any]) -> None:
    """Proves that, with fake quantization off, a model's double computes the same.

    Args:
        pair: The two models.
        inputs: A few inputs of the model.

    Raises:
        TechniqueError: A tensor differs by more than rounding; the first such layer is named.
    """
    tensors = [tensor for node in nodes(pair.float_model) for tensor in outputs(node)]
    expected = tf_keras.Model(pair.float_model.inputs, tensors)(inputs, training=False)
    doubled = tf_keras.Model(pair.model.inputs, [pair.doubles[id(tensor)] for tensor in tensors])
    with fake_quantization_off(pair.model):
        received = doubled(inputs, training=False)
    for tensor, *values in zip(tensors, expected, received, strict=True):
        wanted, got = (np.asarray(value, np.float64) for value in values)  # masks are boolean
        largest = float(np.max(np.abs(wanted), initial=0.0))
        difference = float(np.max(np.abs(np.subtract(wanted, got)), initial=0.0))
        if difference > _SAME * largest:
            layer = tensor.node.layer
            raise TechniqueError(
                received=f"a fake-quantized model whose layer {layer.name!r} "
                f"({type(layer).__name__}) differs by {difference:.3g} from the model given, with "
                "fake quantization off",
                expected=f"at most {_SAME:g} of its largest output, {largest:.3g}",
                fix=f"leave the layer out with skip=({layer.name!r},); if it is random at "
                "inference, replace it",
            )


@contextlib.contextmanager
def fake_quantization_off(model: tf_keras.Model) -> Iterator[None]:
    """Lets a fake-quantized model, called eagerly, compute in floating point.

    Args:
        model: The double in a `FakeQuantized`.
    """
    quantizers = {layer: layer.quantizer for layer in model.layers if is_quantize_layer(layer)}
    kernels = {layer: [*layer._weight_vars] for layer in model.layers if is_wrapper(layer)}
    try:
        for layer in quantizers:
            layer.quantizer = _unchanged
        for layer, entries in kernels.items():
            layer._weight_vars = [(kernel, _unchanged, state) for kernel, _, state in entries]
        yield
    finally:
        for layer, quantizer in quantizers.items():
            layer.quantizer = quantizer
        for layer, entries in kernels.items():
            layer._weight_vars = entries


def _copy(layer: Layer, changes: dict[str, Any] | None = None) -> Layer:
    """A copy of a called layer, weights included."""
    copy = built_copy(layer, layer.get_input_shape_at(0), changes)
    copy.set_weights(layer.get_weights())
    return copy


def _quantizer(
    layer: Layer, kernel: str, found: facts.KernelFacts, layout: Layout
) -> KernelQuantizer:
    """The quantizer that keeps what earlier steps gained in a kernel."""
    axes = CHANNEL_AXES[type(layer)][kernel]
    clustered = found.clustered or found.clustered_per_channel
    shared = found.clustered and channels_share_values(getattr(layer, kernel).numpy(), axes)
    bits = layout.bits(layer.name)
    one_scale = shared and (bits == 4 or layer.name in layout.one_scale)
    return KernelQuantizer(() if one_scale else axes, clustered, bits)


def _unchanged(tensor: Any, training: Any, *, weights: dict[str, tf.Variable]) -> Any:
    """What a quantizer does that is switched off: another tensor, which has no mask of its own."""
    return tf.identity(tensor)


def _free_name(name: str, taken: set[str]) -> str:
    """A layer name like the one wanted that no layer has; it is taken from now on."""
    free, number = name, 1
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    taken.add(free)
    return free
