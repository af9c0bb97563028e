"""Running a model call by call, so that a layer can be corrected by what really reaches it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import tensorflow as tf

from tfopt.data import Arrays, columns
from tfopt.graph.calls import Node, nodes, outputs
from tfopt.keras_gate import tf_keras


def run(model: tf_keras.Model, inputs: Arrays, visit: Callable[[Node, tf.Tensor], None]) -> None:
    """Runs a model in inference mode and shows each call its first input before it is made.

    What `visit` changes in a layer changes what the calls after it see. A tensor is let go of after
    its last use.

    Args:
        model: A functional model.
        inputs: Samples, all run at once.
        visit: Takes a call and what its first input is.

    Example:
        >>> from tfopt.testing import dense_net
        >>> import numpy as np
        >>> run(dense_net(), np.ones((2, 8, 8, 1)), lambda node, x: print(node.layer.name, x.shape))
        flatten (2, 8, 8, 1)
        hidden (2, 64)
        probabilities (2, 32)
    """
    given = columns(inputs, model.input_names)
    values = {
        id(tensor): tf.cast(value, tensor.dtype)
        for tensor, value in zip(model.inputs, given, strict=True)
    }
    uses = Counter(id(tensor) for node in nodes(model) for tensor in node.keras_inputs)
    for node in nodes(model):
        if node.is_input:
            continue
        visit(node, values[id(node.keras_inputs[0])])
        args, kwargs = tf.nest.map_structure(
            lambda value: values.get(id(value), value), (node.call_args, node.call_kwargs)
        )
        results = tf.nest.flatten(node.layer(*args, **kwargs))
        for tensor in node.keras_inputs:
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                values.pop(id(tensor), None)
        values.update(zip(map(id, outputs(node)), results, strict=True))


def recalibrate_batch_norm(model: tf_keras.Model, inputs: Arrays) -> None:
    """Sets each batch norm's statistics to those of the samples, one after another, in place.

    Channels that are gone change what all layers behind them see: without this, a sliced model
    starts far from where it could. Frozen batch norms are left alone.

    Args:
        model: A functional model.
        inputs: Samples; a few hundred are enough.

    Example:
        >>> import numpy as np
        >>> layers = [tf_keras.Input((1,)), tf_keras.layers.BatchNormalization()]
        >>> model = tf_keras.Sequential(layers)
        >>> recalibrate_batch_norm(model, np.array([[1.0], [3.0]]))
        >>> model.layers[0].moving_mean.numpy(), model.layers[0].moving_variance.numpy()
        (array([2.], dtype=float32), array([1.], dtype=float32))

    References:
        Li et al., EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning, 2020,
        section 3.3 (adaptive batch normalization).
    """

    def visit(node: Node, value: tf.Tensor) -> None:
        norm = node.layer
        if type(norm) is not tf_keras.layers.BatchNormalization or not norm.trainable:
            return
        if node.call_kwargs.get("training") is False:
            return
        axes = tf.nest.flatten(norm.axis)
        others = [
            i for i in range(len(value.shape)) if i not in [a % len(value.shape) for a in axes]
        ]
        mean, variance = tf.nn.moments(value, others)
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)

    run(model, inputs, visit)
