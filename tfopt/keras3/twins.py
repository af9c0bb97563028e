"""The tf_keras layers of our own, for Keras 3 layers that tf_keras lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras


@tf_keras.saving.register_keras_serializable(package="tfopt")
class LayerScale(tf_keras.layers.Layer):
    """Multiplies each channel by a learned factor (ConvNeXt).

    Args:
        init_values: The factor before training.
        **kwargs: name, trainable, dtype.
    """

    def __init__(self, init_values: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_values = init_values
        self.supports_masking = True

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the factors, one a channel."""
        initializer = tf_keras.initializers.Constant(self.init_values)
        self.gamma = self.add_weight("gamma", shape=input_shape[-1:], initializer=initializer)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the scaled input."""
        return inputs * self.gamma

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {**super().get_config(), "init_values": self.init_values}


@tf_keras.saving.register_keras_serializable(package="tfopt")
class StochasticDepth(tf_keras.layers.Layer):
    """Drops a whole residual branch for some of the samples while training (ConvNeXt).

    Args:
        drop_path_rate: Share of the samples that lose the branch, 0 to 1.
        **kwargs: name, trainable, dtype.
    """

    def __init__(self, drop_path_rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop_path_rate = drop_path_rate
        self.supports_masking = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the input, samples dropped when training."""
        if not training or not self.drop_path_rate:
            return inputs
        shape = [tf.shape(inputs)[0], *[1] * (len(inputs.shape) - 1)]
        return tf.nn.dropout(inputs, self.drop_path_rate, noise_shape=shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {**super().get_config(), "drop_path_rate": self.drop_path_rate}


@tf_keras.saving.register_keras_serializable(package="tfopt")
class ScaledAdd(tf_keras.layers.Layer):
    """Adds the second input times a constant to the first (InceptionResNetV2).

    Args:
        scale: The constant.
        **kwargs: name, trainable, dtype.
    """

    def __init__(self, scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns `inputs[0] + scale * inputs[1]`."""
        return inputs[0] + inputs[1] * self.scale

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {**super().get_config(), "scale": self.scale}


@tf_keras.saving.register_keras_serializable(package="tfopt")
class RMSNormalization(tf_keras.layers.Layer):
    """Divides by the root mean square over the given axes, then scales.

    Args:
        axis: The axes normalized together, and which have factors of their own.
        epsilon: Added to the mean square.
        **kwargs: name, trainable, dtype.

    References:
        Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, equation 4.
    """

    def __init__(
        self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis = [axis] if isinstance(axis, int) else sorted(axis)
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the factors, shaped like the normalized axes."""
        shape = [input_shape[axis] for axis in self.axis]
        self.scale = self.add_weight("scale", shape=shape, initializer="ones")
        self._broadcast = [1] * len(input_shape)
        for axis in self.axis:
            self._broadcast[axis] = input_shape[axis]
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the normalized input."""
        mean_square = tf.reduce_mean(tf.square(inputs), axis=self.axis, keepdims=True)
        scale = tf.reshape(self.scale, self._broadcast)
        return inputs * tf.math.rsqrt(mean_square + self.epsilon) * scale

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of `__init__`."""
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}
