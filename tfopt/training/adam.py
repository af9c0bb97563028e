"""Adam as one op for each variable."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfopt.keras_gate import tf_keras


@contextlib.contextmanager
def in_one_op(optimizer: tf_keras.optimizers.Optimizer) -> Iterator[None]:
    """Lets Adam's step on a variable be TensorFlow's own op instead of 15 small ones.

    It computes what `tf_keras.optimizers.Adam` does, from a graph that is built in half the time:
    of a short training, that is much. Gradients of rows of an embedding are applied by tf_keras.
    The optimizer stays the one it is, so that a model which is saved meanwhile, or afterwards, has
    one that tf_keras knows. It is left alone if it is no Adam, has a setting that the op does not
    know, or is compiled by XLA, in whose graph the numbers that variables share would be missing.

    Args:
        optimizer: Of the model that is trained meanwhile.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(2,))])
        >>> model.compile(tf_keras.optimizers.Adam(1e-3, jit_compile=False), "mse")
        >>> with in_one_op(model.optimizer):
        ...     history = model.fit(tf.ones((8, 2)), tf.ones((8, 1)), verbose=0)

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, section 2 (the
        step with its bias correction in the learning rate).
    """
    if not _is_known(optimizer):
        yield
        return
    apply_all, update = optimizer._distributed_apply_gradients_fn, optimizer.update_step
    shared: list[tf.Tensor] = []  # the powers of both betas and the learning rate of a step

    def apply_shared(distribution: Any, grads_and_vars: Any, **kwargs: Any) -> Any:
        step = tf.cast(optimizer.iterations + 1, tf.float32)
        powers = (tf.pow(beta, step) for beta in (optimizer.beta_1, optimizer.beta_2))
        shared[:] = [*powers, optimizer.learning_rate]
        return apply_all(distribution, grads_and_vars, **kwargs)

    def update_step(gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        if isinstance(gradient, tf.IndexedSlices):
            update(gradient, variable)
        else:
            _apply(optimizer, gradient, variable, shared)

    optimizer._distributed_apply_gradients_fn, optimizer.update_step = apply_shared, update_step
    try:
        yield
    finally:
        del optimizer._distributed_apply_gradients_fn, optimizer.update_step


def _is_known(optimizer: Any) -> bool:
    """Whether an optimizer is an Adam all of whose settings the op, or tf_keras around it, knows.

    Weight decay, clipping and moving averages of the weights are done before and after the step.
    """
    if type(optimizer) is not tf_keras.optimizers.Adam:
        return False
    return not (optimizer.amsgrad or optimizer.adaptive_epsilon or optimizer.jit_compile)


def _apply(optimizer: Any, gradient: tf.Tensor, variable: Any, shared: list[tf.Tensor]) -> None:
    """Changes a variable and its moments by a gradient."""
    place = optimizer._index_dict[optimizer._var_key(variable)]
    first, second, rate = (tf.cast(number, variable.dtype) for number in shared)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=optimizer._momentums[place].handle,
        v=optimizer._velocities[place].handle,
        beta1_power=first,
        beta2_power=second,
        lr=rate,
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=gradient,
    )
