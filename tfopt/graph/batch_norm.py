"""Batch norms: folding them into the layers before them, and fitting their statistics to data."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays
from tfopt.graph.calls import Layer, Node, built_copy, nodes, outputs, rebuild
from tfopt.graph.kernels import (
    OUTPUT_AXES,
    activation_name,
    channels_last,
    constraint_of,
    made_by,
)
from tfopt.graph.stepping import input_arrays, watch
from tfopt.keras_gate import clone, tf_keras


@dataclasses.dataclass(frozen=True)
class Folding:
    """A batch norm and the layer it can be folded into.

    Args:
        kernel: The layer before, one of `OUTPUT_AXES`.
        batch_norm: The batch norm.
        input_shape: What the kernel's layer is built for.
    """

    kernel: Layer
    batch_norm: Layer
    input_shape: Any

    @property
    def factor(self) -> np.ndarray:
        """What an output channel is multiplied by, in double precision."""
        norm = self.batch_norm
        gamma = norm.gamma.numpy() if norm.scale else 1.0
        deviation = np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
        with np.errstate(divide="ignore", invalid="ignore"):
            return gamma / deviation

    @property
    def bias(self) -> np.ndarray:
        """The bias of the folded layer, in double precision."""
        norm, kernel = self.batch_norm, self.kernel
        beta = norm.beta.numpy() if norm.center else 0.0
        bias = kernel.bias.numpy() if kernel.use_bias else 0.0
        return beta + (bias - norm.moving_mean.numpy().astype(np.float64)) * self.factor


def foldings(model: tf_keras.Model, *, constrained: bool = True) -> list[Folding]:
    """Finds the batch norms that can be folded.

    Such a batch norm follows a layer with a kernel that is linear, is called once and is read by
    nothing else, and it normalizes the channels the kernel makes. One with a variance of zero and
    no epsilon divides by zero, and stays.

    Args:
        model: A functional model.
        constrained: Whether kernels under a constraint count: training would hold what is folded
            to it.
    """
    users: dict[int, list[Node]] = defaultdict(list)
    calls: dict[int, int] = defaultdict(int)
    makers: dict[int, Node] = {}
    for node in nodes(model):
        calls[id(node.layer)] += 1
        for tensor in outputs(node):
            makers[id(tensor)] = node
        for tensor in node.keras_inputs:
            users[id(tensor)].append(node)
    results = {id(tensor) for tensor in model.outputs}
    found = []
    for node in nodes(model):
        if type(node.layer) is not tf_keras.layers.BatchNormalization or _trains(node):
            continue
        tensor = node.keras_inputs[0]
        maker = makers[id(tensor)]
        kernel = maker.layer
        alone = len(users[id(tensor)]) == 1 and id(tensor) not in results
        once = calls[id(kernel)] == 1 and calls[id(node.layer)] == 1
        if alone and once and _makes_channels(kernel) and _axis(node) == len(tensor.shape) - 1:
            folding = Folding(kernel, node.layer, maker.input_shapes)
            if constraint_of(kernel.weights) is not None and not constrained:
                continue
            if np.isfinite(folding.factor).all() and np.isfinite(folding.bias).all():
                found.append(folding)
    return found


def fold_batch_norm(model: tf_keras.Model, *, constrained: bool = True) -> tf_keras.Model:
    """Folds the batch norms of a model into the layers before them, as the converter does.

    Then the kernels are those of the file, and each has a bias: what rounds, rescales or corrects
    them sees what the file will hold.

    Args:
        model: A functional model; it is left as it was.
        constrained: As for `foldings`.

    Returns:
        A copy without the batch norms that could be folded (see `foldings`). The layers keep their
        names and trainable flags; those that got a batch norm have a bias.

    Example:
        >>> layers = [tf_keras.layers.Conv2D(4, 3, use_bias=False, name="conv"),
        ...           tf_keras.layers.BatchNormalization(name="norm"), tf_keras.layers.ReLU()]
        >>> folded = fold_batch_norm(tf_keras.Sequential([tf_keras.Input((8, 8, 1)), *layers]))
        >>> [type(layer).__name__ for layer in folded.layers], folded.get_layer("conv").use_bias
        (['InputLayer', 'Conv2D', 'ReLU'], True)

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, 2018, section 3.2 (equation 14).
    """
    own = clone(model)
    folded: dict[int, Any] = {}
    for folding in foldings(own, constrained=constrained):
        folded[id(folding.kernel)] = _folded(folding)
        folded[id(folding.batch_norm)] = _handed_on
    if not folded:
        return own
    rebuilt, _ = rebuild(own, replace=lambda layer: folded.get(id(layer), layer))
    return clone(rebuilt)


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

    watch(model, input_arrays(model, inputs), visit)


def _folded(folding: Folding) -> Layer:
    """A copy of the kernel's layer that computes the batch norm as well."""
    layer = folding.kernel
    copy = built_copy(layer, folding.input_shape, {"use_bias": True})
    side = made_by(layer)
    copy.set_weights([*layer.get_weights()[: len(layer.weights) - layer.use_bias], folding.bias])
    kernel = getattr(layer, side.weight).numpy() * side.spread(folding.factor)
    getattr(copy, side.weight).assign(kernel)
    copy.trainable = layer.trainable
    return copy


def _handed_on(tensor: Any, *args: Any, **kwargs: Any) -> Any:
    """What stands in the place of a batch norm that is gone."""
    return tensor


def _makes_channels(layer: Layer) -> bool:
    """Whether a layer multiplies by a kernel and does nothing after it."""
    linear = type(layer) in OUTPUT_AXES and activation_name(layer) == "linear"
    return linear and channels_last(layer)


def _axis(node: Node) -> int:
    """The axis a batch norm normalizes, counted from the first; -1 for several."""
    axis = node.layer.axis
    axes = [axis] if isinstance(axis, int) else list(axis)
    rank = len(node.keras_inputs[0].shape)
    return axes[0] % rank if len(axes) == 1 else -1


def _trains(node: Node) -> bool:
    """Whether a batch norm was called to normalize by the batch's own statistics."""
    training = node.call_kwargs.get("training", (*node.call_args, None, None)[1])
    return bool(training)
