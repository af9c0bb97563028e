"""Cutting a model into blocks, and running one by itself."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

import tensorflow as tf

from tfopt.graph.calls import KerasTensor, Node, nodes, outputs
from tfopt.keras_gate import tf_keras

# So many kernels in a row, without a merge, make a block; a block with more than the most is too
# large to be learned as one.
_IN_A_ROW = 3
_MOST = 8

_layers = tf_keras.layers
_ACTIVATION_LAYERS = (_layers.ReLU, _layers.LeakyReLU, _layers.ELU, _layers.Activation)
_ELEMENTWISE = {
    "elu", "exponential", "gelu", "hard_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid",
    "silu", "softplus", "softsign", "swish", "tanh",
}  # fmt: skip

Activation = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of a model with a single output.

    Args:
        calls: Its calls, in an order in which they can be made.
        entries: The tensors it reads.
        exit: The tensor it makes.
        kernels: The names of those of its layers that were asked for.
    """

    calls: tuple[Node, ...]
    entries: tuple[KerasTensor, ...]
    exit: KerasTensor
    kernels: tuple[str, ...]

    def run(self, values: list[tf.Tensor]) -> tf.Tensor:
        """Computes the exit from the entries."""
        made = {id(entry): value for entry, value in zip(self.entries, values, strict=True)}

        def current(value: Any) -> Any:
            return made.get(id(value), value)

        for call in self.calls:
            args, kwargs = tf.nest.map_structure(current, (call.call_args, call.call_kwargs))
            results = tf.nest.flatten(call.layer(*args, **kwargs))
            made.update(zip(map(id, outputs(call)), results, strict=True))
        return made[id(self.exit)]


def blocks(model: tf_keras.Model, kernels: Collection[str]) -> list[Block]:
    """Cuts a model where a single tensor passes.

    What lies between two such places is a residual block, or a single layer. Layers in a row are
    joined, up to three kernels, as in a bottleneck without a shortcut; an activation belongs to the
    block before it, and the last softmax or dense layer stands alone.

    Args:
        model: A functional model.
        kernels: The names of the layers to be rounded, each called once.

    Returns:
        The blocks that hold such a layer, in order. One with more than eight is cut into its
        layers' single calls, since it cannot be learned as one.

    References:
        Li et al., BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction,
        2021, section 3.2.
    """
    joined: list[list[list[Node]]] = []
    for part in _parts(model):
        if joined and _belongs(part, joined[-1], kernels):
            joined[-1].append(part)
        else:
            joined.append([part])
    whole = [[call for part in parts for call in part] for parts in joined]
    made = (calls for block in whole for calls in _small_enough(block, kernels))
    return [_block(calls, kernels) for calls in made if _count(calls, kernels)]


def following(model: tf_keras.Model, layer: Any) -> Activation:
    """Returns the activation a layer's output goes through, its own or that of the one layer after.

    Only functions of one number: of a softmax, the inputs are what counts.

    Args:
        model: A functional model.
        layer: One of its layers, called once.
    """
    own = getattr(layer, "activation", None)
    if own is not None and own is not tf_keras.activations.linear:
        return own if getattr(own, "__name__", "") in _ELEMENTWISE else tf.identity
    users = [node for node in nodes(model) if _reads(node, layer.output)]
    if len(users) != 1 or any(layer.output is output for output in model.outputs):
        return tf.identity
    return users[0].layer if _is_activation(users) else tf.identity


def _parts(model: tf_keras.Model) -> Iterator[list[Node]]:
    """The calls between one place where a single tensor is alive and the next."""
    uses = Counter(id(tensor) for node in nodes(model) for tensor in node.keras_inputs)
    uses.update(map(id, model.outputs))
    alive: set[int] = set()
    waiting = sum(node.is_input for node in nodes(model))
    part: list[Node] = []
    for node in nodes(model):
        part.append(node)
        waiting -= node.is_input
        for tensor in node.keras_inputs:
            uses[id(tensor)] -= 1
        alive |= {id(tensor) for tensor in outputs(node)}
        alive = {tensor for tensor in alive if uses[tensor]}
        if len(alive) == 1 and not waiting:
            yield part
            part = []
    if part:
        yield part


def _belongs(part: list[Node], block: list[list[Node]], kernels: Collection[str]) -> bool:
    """Whether a part goes into the block that ends before it."""
    before = sum(_count(calls, kernels) for calls in block)
    if not before:
        return True
    if not _count(part, kernels):
        return _is_activation(part)
    in_a_row = all(len(calls) == 1 for calls in (*block, part))
    dense = any(isinstance(call.layer, _layers.Dense) for calls in (*block, part) for call in calls)
    return in_a_row and not dense and before < _IN_A_ROW


def _small_enough(calls: list[Node], kernels: Collection[str]) -> list[list[Node]]:
    """A block as it is, or each of its layers with a kernel by itself."""
    if _count(calls, kernels) <= _MOST:
        return [calls]
    return [[call] for call in calls if call.layer.name in kernels]


def _count(calls: list[Node], kernels: Collection[str]) -> int:
    """How many calls are of layers to be rounded."""
    return sum(call.layer.name in kernels for call in calls)


def _block(calls: list[Node], kernels: Collection[str]) -> Block:
    """A block of calls."""
    calls = [call for call in calls if not call.is_input]
    made = {id(tensor) for call in calls for tensor in outputs(call)}
    entries = {
        id(tensor): tensor
        for call in calls
        for tensor in call.keras_inputs
        if id(tensor) not in made
    }
    names = tuple(call.layer.name for call in calls if call.layer.name in kernels)
    return Block(tuple(calls), tuple(entries.values()), outputs(calls[-1])[0], names)


def _is_activation(calls: list[Node]) -> bool:
    """Whether a call does nothing but apply a function to each number."""
    layer = calls[0].layer
    if len(calls) != 1 or not isinstance(layer, _ACTIVATION_LAYERS):
        return False
    function = getattr(layer, "activation", None)
    return function is None or getattr(function, "__name__", "") in _ELEMENTWISE


def _reads(node: Node, tensor: KerasTensor) -> bool:
    """Whether a call reads a tensor."""
    return any(tensor is one for one in node.keras_inputs)
