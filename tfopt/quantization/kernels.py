"""Fake quantization of kernels: the integers the file will hold, zeros and clusters kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.keras_gate import tf_keras, tfmot
from tfopt.quantization.grid import round_kernel

# Channels share their values if each value is in so many of them on average: values of a channel's
# own are in one.
_SHARED_FROM = 1.25


def channels_share_values(kernel: np.ndarray, channel_axes: tuple[int, ...]) -> bool:
    """Returns whether the same values, zero apart, come back in several output channels.

    Args:
        kernel: A kernel with few different values.
        channel_axes: The axes of the output channels, next to each other.

    Example:
        >>> channels_share_values(np.array([[1, 2, 1], [2, 1, 2]]), (1,))
        True
        >>> channels_share_values(np.array([[1, 3, 5], [2, 4, 6]]), (1,))
        False
    """
    sizes = [kernel.shape[axis] if axis in channel_axes else 1 for axis in range(kernel.ndim)]
    channels = np.broadcast_to(np.arange(np.prod(sizes)).reshape(sizes), kernel.shape)
    used = kernel != 0
    values, value = np.unique(kernel[used], return_inverse=True)
    pairs = np.unique(channels[used] * len(values) + value)
    return len(pairs) > _SHARED_FROM * len(values)


@tf_keras.utils.register_keras_serializable(package="tfopt")
class KernelQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Fake-quantizes a kernel; its zeros stay zeros, and weights that are equal stay equal.

    Zeros are kept by giving them no gradient. Clusters are kept by reading, in the place of each
    weight, the first weight of its cluster: that one then gets the gradients of all of them. It is
    one gather a step, whatever the number of clusters. (TF-MOT's cluster-preserving quantizer finds
    the nearest centroid of each weight again in each step.)

    Args:
        channel_axes: The axes of the output channels; () for one scale for the whole kernel.
        clustered: Whether weights that are equal when the quantizer is built must stay so.
        bits: Of a weight in the file.

    References:
        Han, Mao and Dally, Deep Compression, 2016, section 3.2, equation 3 (a shared weight's
        gradient is the sum of its users').
    """

    def __init__(
        self, channel_axes: tuple[int, ...], clustered: bool = False, bits: int = 8
    ) -> None:
        self.channel_axes = tuple(channel_axes)
        self.clustered = clustered
        self.bits = bits

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, tf.Variable]:
        """Notes, for each weight, the position of the first one that equals it."""
        if not self.clustered:
            return {}
        with tf.init_scope():
            first = _first_equals(getattr(layer.layer, name).numpy())
        position = layer.add_weight(
            f"{name}_first_equal",
            shape=tensor_shape,
            dtype=tf.int32,
            initializer=tf_keras.initializers.Constant(first),
            trainable=False,
        )
        return {"first_equal": position}

    def __call__(
        self, inputs: Any, training: Any, weights: dict[str, tf.Variable], **kwargs: Any
    ) -> tf.Tensor:
        """Returns the rounded kernel; training and inference are the same."""
        return round_kernel(self.shared(inputs, weights), self.channel_axes, bits=self.bits)

    def shared(self, kernel: Any, weights: dict[str, tf.Variable]) -> tf.Tensor:
        """Returns the kernel before rounding, zeros and clusters kept."""
        kernel = tf.convert_to_tensor(kernel)
        if self.clustered:
            kernel = tf.gather(tf.reshape(kernel, [-1]), weights["first_equal"])
        return kernel * tf.cast(kernel != 0, kernel.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal quantizer."""
        return {
            "channel_axes": list(self.channel_axes),
            "clustered": self.clustered,
            "bits": self.bits,
        }


@tf_keras.utils.register_keras_serializable(package="tfopt")
class KernelConfig(tfmot.quantization.keras.QuantizeConfig):
    """Tells TF-MOT's wrapper to fake-quantize the kernels of a layer, and nothing else of it.

    Args:
        quantizers: A quantizer for each attribute of the layer that holds a kernel.
    """

    def __init__(self, quantizers: dict[str, KernelQuantizer]) -> None:
        self.quantizers = quantizers

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, KernelQuantizer]]:
        """Returns the kernels, each with its quantizer."""
        return [(getattr(layer, name), quantizer) for name, quantizer in self.quantizers.items()]

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Puts the rounded kernels where the layer looks for its own."""
        for name, kernel in zip(self.quantizers, quantize_weights, strict=True):
            setattr(layer, name, kernel)

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        """Returns none: activations are layers of their own."""
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """Does nothing, as there are none."""
        pass  # AutoGraph drops the docstring, and a function must have a body

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        """Returns none: a layer behind this one quantizes its output."""
        return []

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal configuration, as JSON values."""
        return {"quantizers": {name: q.get_config() for name, q in self.quantizers.items()}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KernelConfig:
        """Makes the configuration that `get_config` described."""
        described = config["quantizers"].items()
        return cls({name: KernelQuantizer(**settings) for name, settings in described})


@tf_keras.utils.register_keras_serializable(package="tfopt")
class MaskedWrapper(tfmot.quantization.keras.QuantizeWrapperV2):
    """TF-MOT's wrapper of a layer with fake-quantized kernels, which treats masks as that does.

    TF-MOT's own gives any layer the mask of its inputs, which most do not take, and hands none on.
    """

    def __init__(self, layer: Any, quantize_config: Any, **kwargs: Any) -> None:
        super().__init__(layer, quantize_config, **kwargs)
        self.supports_masking = layer.supports_masking

    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        """Computes the layer with its rounded kernels."""
        if not self.layer._expects_mask_arg:
            kwargs.pop("mask", None)
        return super().call(inputs, training=training, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the mask that the layer hands on."""
        return self.layer.compute_mask(inputs, mask)


@tf_keras.utils.register_keras_serializable(package="tfopt")
class KernelWrapper(MaskedWrapper):
    """A wrapper of a layer with fake-quantized kernels, which can be frozen.

    TF-MOT's own goes on training the kernels of a layer whose `trainable` is False.
    """

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """The layer's weights, kernels first; none if it is frozen."""
        return super().trainable_weights if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        """What quantizers keep, and all weights of a frozen layer."""
        rest = super().non_trainable_weights
        return rest if self.trainable else self._dedup_weights(self._trainable_weights + rest)


def _first_equals(kernel: np.ndarray) -> np.ndarray:
    """For each weight, the position of the first weight that equals it."""
    _, first, group = np.unique(kernel, return_index=True, return_inverse=True)
    return first[group].reshape(kernel.shape).astype(np.int32)
