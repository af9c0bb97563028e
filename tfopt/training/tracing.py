"""Building the graph of a training step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from tfopt.keras_gate import tf_keras


@contextlib.contextmanager
def traced_once(model: tf_keras.Model) -> Iterator[None]:
    """Lets `fit` build the graph of a step once, which takes seconds for a large model.

    By itself it does so four times: AutoGraph goes twice through a loop in which variables begin,
    and TensorFlow twice through a function that makes variables, as the optimizer does in its first
    step. Not for several replicas, whose step may be no function of its own.

    Args:
        model: A compiled model. A `train_step` set on it that updates other variables than the
            model's trainable ones has them as an attribute, `variables`.
    """
    own = vars(model).get("train_step")
    model.optimizer.build(getattr(own, "variables", model.trainable_variables))
    step = tf.function(model.train_step)
    model.train_step = lambda data: step(data)  # no TensorFlow object: Keras would keep track of it
    try:
        yield
    finally:
        del model.train_step
        if own is not None:
            model.train_step = own
