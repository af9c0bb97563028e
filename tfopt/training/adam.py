"""Adam as one op for each variable."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt.keras_gate import tf_keras


class FusedAdam(tf_keras.optimizers.Adam):
    """Adam whose step on a variable is TensorFlow's own op instead of 15 small ones.

    It computes what `tf_keras.optimizers.Adam` does, from a graph that is built in half the time:
    of a short training, that is much. Gradients of rows of an embedding are applied by tf_keras.

    Args:
        learning_rate: A number, or a schedule.
        settings: Others of Adam's, but for `amsgrad` and what adapts `epsilon`.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(2,))])
        >>> model.compile(FusedAdam(1e-3), "mse")

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, section 2 (the
        step with its bias correction in the learning rate).
    """

    def __init__(self, learning_rate: Any, **settings: Any) -> None:
        # XLA, which tf_keras would ask for on a GPU, keeps a graph that the shared numbers leave
        super().__init__(learning_rate, **settings | {"jit_compile": False})

    def _distributed_apply_gradients_fn(
        self, distribution: Any, grads_and_vars: Any, **kwargs: Any
    ) -> Any:
        step = tf.cast(self.iterations + 1, tf.float32)
        self._shared = (tf.pow(self.beta_1, step), tf.pow(self.beta_2, step), self.learning_rate)
        return super()._distributed_apply_gradients_fn(distribution, grads_and_vars, **kwargs)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Changes a variable and its moments by a gradient."""
        if isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        place = self._index_dict[self._var_key(variable)]
        first, second, rate = (tf.cast(number, variable.dtype) for number in self._shared)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].handle,
            v=self._velocities[place].handle,
            beta1_power=first,
            beta2_power=second,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
