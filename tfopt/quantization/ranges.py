"""Fake quantization of activations: ranges calibrated, moved on in training, and switched off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays, length, select
from tfopt.errors import TechniqueError
from tfopt.facts.kernels import wrapper_names
from tfopt.graph.calls import KerasTensor
from tfopt.graph.stepping import input_arrays
from tfopt.keras_gate import tf_keras, tfmot

_BATCH_SIZE = 32
# A moving average over about as many batches, which is TF-MOT's decay of 0.999.
_MOST_BATCHES = 1000
# A tensor that is always zero needs a range all the same, or the file would divide by zero.
_SMALLEST_RANGE = 1e-5


def tfmot_class(name: str) -> Any:
    """Returns a class that TF-MOT registers under a name, but does not export."""
    with tfmot.quantization.keras.quantize_scope():
        return tf_keras.utils.get_registered_object(name)


@tf_keras.utils.register_keras_serializable(package="tfopt")
class QuantizeLayer(tfmot_class("QuantizeLayer")):  # type: ignore[misc]
    """TF-MOT's layer that fake-quantizes what passes through it, and hands its mask on as well."""

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the mask it was given."""
        return mask


def quantize_layer(quantizer: Any, name: str, *, masked: bool = False) -> Any:
    """Returns a layer that fake-quantizes what passes through it.

    Args:
        quantizer: Does so.
        name: Of the layer.
        masked: Whether there is a mask to hand on, which TF-MOT's own layer would drop.
    """
    kind = QuantizeLayer if masked else tfmot_class("QuantizeLayer")
    return kind(quantizer, name=name)


def has_mask(tensor: KerasTensor) -> bool:
    """Returns whether a mask goes with a tensor of a model."""
    return getattr(tensor, "_keras_mask", None) is not None


def is_masked(layer: Any) -> bool:
    """Returns whether a mask goes with what a layer is called on."""
    return any(has_mask(tensor) for node in layer._inbound_nodes for tensor in node.keras_inputs)


def is_quantize_layer(layer: Any) -> bool:
    """Returns whether a layer does nothing but fake-quantize what passes through it."""
    return "QuantizeLayer" in wrapper_names(layer)


@tf_keras.utils.register_keras_serializable(package="tfopt")
class RunningRange(tfmot.quantization.keras.quantizers.Quantizer):
    """Fake-quantizes with the mean of the smallest and largest values of the batches so far.

    From 1,000 batches on it is the usual moving average. TF-MOT's starts at -6 to 6 and needs
    thousands of steps to come near any other range.

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, 2018, section 3.1.
    """

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, tf.Variable]:
        """Makes the range and the number of batches it was taken from."""
        return {
            part: layer.add_weight(
                f"{name}_{part}",
                initializer="zeros",
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.MEAN,
            )
            for part in ("min", "max", "batches")
        }

    def __call__(
        self, inputs: Any, training: Any, weights: dict[str, tf.Variable], **kwargs: Any
    ) -> tf.Tensor:
        """Rounds to 256 steps within the range, which moves on if training."""
        low, high, batches = weights["min"], weights["max"], weights["batches"]
        if training:
            weight = 1.0 / tf.minimum(batches.assign_add(1.0), _MOST_BATCHES)
            low = low.assign_add(weight * (tf.minimum(tf.reduce_min(inputs), 0.0) - low))
            high = high.assign_add(
                weight * (tf.maximum(tf.reduce_max(inputs), _SMALLEST_RANGE) - high)
            )
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)

    def get_config(self) -> dict[str, Any]:
        """Returns nothing, as there is nothing to set."""
        return {}


def calibrate(model: tf_keras.Model, layers: list[tuple[KerasTensor, Any]], inputs: Arrays) -> None:
    """Sets ranges to the mean of what a float model's tensors reach in batches of inputs.

    Args:
        model: The float model.
        layers: Tensors of it, each with the `QuantizeLayer` of a `RunningRange` to set.
        inputs: Representative inputs of the model.

    Raises:
        TechniqueError: A tensor holds NaN or infinity.
    """
    probe = tf_keras.Model(model.inputs, [tensor for tensor, _ in layers])

    @tf.function(autograph=False)
    def extremes(batch: Any) -> tf.Tensor:
        tensors = tf.nest.flatten(probe(batch, training=False))
        return tf.stack([(tf.reduce_min(tensor), tf.reduce_max(tensor)) for tensor in tensors])

    batches = [extremes(batch).numpy() for batch in model_batches(model, inputs)]
    means = np.mean([(np.minimum(b[:, 0], 0), np.maximum(b[:, 1], 0)) for b in batches], axis=0)
    for (tensor, layer), low, high in zip(layers, *means, strict=True):
        if not np.isfinite([low, high]).all():
            raise TechniqueError(
                received=f"a range of {low} to {high} behind layer {tensor.node.layer.name!r}, "
                "calibrating with representative inputs",
                expected="finite numbers",
                fix="check the inputs' scaling, and that the model's own predictions are finite",
            )
        layer.quantizer_vars["min"].assign(low)
        layer.quantizer_vars["max"].assign(max(high, _SMALLEST_RANGE))
        layer.quantizer_vars["batches"].assign(len(batches))


def model_batches(model: tf_keras.Model, inputs: Arrays) -> Iterator[list[tf.Tensor]]:
    """Yields whole batches of inputs as the model takes them; a last short one is filled up.

    Args:
        model: A functional model.
        inputs: One array, or several by position or by the name of the input layer.

    Raises:
        DataError: They do not fit the model's inputs.
    """
    count = length(inputs)
    for start in range(0, count, _BATCH_SIZE):
        last = min(start + _BATCH_SIZE, count)
        chosen = select(inputs, np.arange(max(0, last - _BATCH_SIZE), last))
        yield model_inputs(model, chosen)


def model_inputs(model: tf_keras.Model, inputs: Arrays) -> list[tf.Tensor]:
    """Returns inputs as tensors, in the order and of the types the model asks for.

    Raises:
        DataError: They do not fit the model's inputs.
    """
    arrays = input_arrays(model, inputs)
    return [
        tf.cast(array, wanted.dtype) for array, wanted in zip(arrays, model.inputs, strict=True)
    ]


def is_wrapper(layer: Any) -> bool:
    """Returns whether a layer is TF-MOT's wrapper around one with fake-quantized kernels."""
    return isinstance(layer, tfmot.quantization.keras.QuantizeWrapper)
