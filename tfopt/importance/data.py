"""How much a channel matters, measured on data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays, columns, length, select
from tfopt.data.splits import sample_positions
from tfopt.graph.calls import KerasTensor, Node, nodes
from tfopt.graph.dependencies import Axis, Dependencies
from tfopt.importance.votes import Votes
from tfopt.importance.weights import norms
from tfopt.keras_gate import tf_keras

if TYPE_CHECKING:
    from tfopt.task import Task

_BATCH = 32
_SMALLEST = 1e-30


def labelled(task: Task, count: int) -> Iterator[tuple[Any, Any]]:
    """Yields batches of random training samples with their labels, the same for the same seed.

    Args:
        task: Its training data, batch size and seed.
        count: How many samples; all, if there are fewer.
    """
    wanted = sample_positions(task.train.size, count, task.seed)
    for x, y in task.train.at(wanted):
        for first in range(0, length(x), _BATCH):
            part = slice(first, first + _BATCH)
            yield select(x, part), select(y, part)


def taylor(dependencies: Dependencies, batches: Iterable[tuple[Any, Any]], loss: Any) -> np.ndarray:
    """Scores units by how much the loss would change without them, to the first order.

    The change is the sum of weight times gradient over the weights of a layer that make or carry
    the unit; its square is taken batch by batch, and summed over the layers. The root is compared
    with the mean of the group: gradients of different layers differ so much that whole layers would
    go first, and the network with them.

    Args:
        dependencies: What goes together.
        batches: Pairs of inputs and labels.
        loss: As for `compile`.

    Returns:
        (units,), at least 0; 1 is the mean of a group.

    References:
        Molchanov et al., Importance Estimation for Neural Network Pruning, 2019, equation 8.
    """
    model = dependencies.model
    axes = [axis for axis in dependencies.axes if axis.role != "reads" and axis.variable.trainable]
    judge = tf_keras.Model(model.inputs, model.outputs)
    judge.output_names = list(model.output_names)
    judge.compile(loss=loss)
    variables = [axis.variable for axis in axes]

    strategy = tf.distribute.get_strategy()

    def gradients(x: Any, y: Any) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = judge.compute_loss(x, y, model(x, training=False))
        return tape.gradient(value, variables, unconnected_gradients="zero")

    @tf.function
    def in_replica(x: Any, y: Any) -> list[tf.Tensor]:
        # Keras keeps the mean of a loss, which is only possible in a replica; all give the same
        found = strategy.run(gradients, (x, y))
        return [strategy.experimental_local_results(value)[0] for value in found]

    scores = np.zeros(dependencies.units)
    for x, y in batches:
        scores += _squared(axes, in_replica(x, y), dependencies.units)
    scores = np.sqrt(scores)
    for group in dependencies.groups:
        scores[group.units] /= max(scores[group.units].mean(), _SMALLEST)
    return scores


def _squared(axes: list[Axis], gradients: list[Any], units: int) -> np.ndarray:
    """Weight times gradient, summed within a layer, squared, summed over the layers."""
    by_layer: dict[int, np.ndarray] = {}
    for axis, gradient in zip(axes, gradients, strict=True):
        product = (axis.variable * tf.convert_to_tensor(gradient)).numpy().astype(np.float64)
        others = tuple(set(range(product.ndim)) - {axis.axis})
        change = by_layer.setdefault(id(axis.layer), np.zeros(units))
        np.add.at(change, axis.ids, product.sum(axis=others))
    return sum((change**2 for change in by_layer.values()), np.zeros(units))


def activations(dependencies: Dependencies, inputs: Arrays, *, weighted: bool) -> np.ndarray:
    """Scores units by the size of the activations that kernels read.

    Attention heads, which no kernel reads outside their layer, are scored by the norm of their
    weights.

    Args:
        dependencies: What goes together.
        inputs: Samples.
        weighted: Multiply by the norm of the weights that read them, which is how much of the next
            layer's output is theirs.

    Returns:
        (units,), at least 0; 1 is the mean of a layer.

    References:
        Hu et al., Network Trimming, 2016, section 3 (activations judge channels). He et al.,
        Channel Pruning for Accelerating Very Deep Neural Networks, 2017, section 3 (their share in
        the next layer's output does).
    """
    model = dependencies.model
    pairs = list(_reads(dependencies))
    measured = tf_keras.Model(model.inputs, [tensor for _, tensor in pairs])

    @tf.function
    def sizes(*x: Any) -> list[tf.Tensor]:
        tensors = tf.nest.flatten(measured(x[0] if len(x) == 1 else list(x), training=False))
        return [tf.reduce_mean(tf.square(t), axis=range(len(t.shape) - 1)) for t in tensors]

    arrays, count = columns(inputs, model.input_names), length(inputs)
    total = [np.zeros(tensor.shape[-1] or 1) for _, tensor in pairs]
    for start in range(0, count, _BATCH):
        places = np.arange(start, min(start + _BATCH, count))
        for sum_, mean in zip(total, sizes(*(array[places] for array in arrays)), strict=True):
            sum_ += mean.numpy() * len(places) / count
    votes = Votes(dependencies)
    for (axis, tensor), square in zip(pairs, total, strict=True):
        units = dependencies.tensors[id(tensor)]
        votes.add(units, np.sqrt(square) * (_reading_norms(axis, len(units)) if weighted else 1))
    found = votes.mean(unknown=np.nan)
    return np.where(np.isnan(found), norms(dependencies, order=2), found)


def _reads(dependencies: Dependencies) -> Iterator[tuple[Axis, KerasTensor]]:
    """The axes along which kernels read channels, each with a tensor that brings them."""
    for node in nodes(dependencies.model):
        for axis in dependencies.axes_of(node.layer):
            tensor = _read_along(axis, node) if axis.role == "reads" else None
            if tensor is not None:
                yield axis, tensor


def _read_along(axis: Axis, node: Node) -> KerasTensor | None:
    """The tensor that a call reads along an axis, None for one inside the layer."""
    layer = node.layer
    if type(layer) is not tf_keras.layers.MultiHeadAttention:
        return node.keras_inputs[0]
    given = dict(zip(("query", "value", "key"), node.call_args, strict=False)) | node.call_kwargs
    if given.get("key") is None:
        given["key"] = given["value"]
    for name in ("query", "value", "key"):
        if axis.variable is getattr(layer, f"_{name}_dense").kernel:
            return given[name]
    return None


def _reading_norms(axis: Axis, size: int) -> np.ndarray:
    """The norms of the weights that read each channel; ones where several groups read alike."""
    if len(axis.ids) != size:
        return np.ones(size)
    others = tuple(set(range(len(axis.variable.shape))) - {axis.axis})
    return np.sqrt((axis.variable.numpy().astype(np.float64) ** 2).sum(axis=others))
