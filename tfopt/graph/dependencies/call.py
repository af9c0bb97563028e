"""One call of a layer as the rules see it: with the channels of its inputs."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tfopt.graph.calls import KerasTensor, Layer, Node, outputs
from tfopt.graph.dependencies.channels import Channels, Ids, Role
from tfopt.graph.sizes import Sizes


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a layer.

    Args:
        node: The call as Keras recorded it.
        channels: Takes down what the rule tells.
        inputs: The channels along the last axis of each tensor that goes in.
        sizes: Of the model's tensors.
    """

    node: Node
    channels: Channels
    inputs: list[Ids]
    sizes: Sizes

    @property
    def layer(self) -> Layer:
        """The layer that is called."""
        return self.node.layer

    @property
    def ids(self) -> Ids:
        """The channels of the first input."""
        return self.inputs[0]

    @property
    def input(self) -> KerasTensor:
        """The first input."""
        return self.node.keras_inputs[0]

    @property
    def output(self) -> KerasTensor:
        """The first output."""
        return outputs(self.node)[0]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The shape of the first input, with the batch."""
        return tuple(self.input.shape)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """The shape of the first output, with the batch."""
        return tuple(self.output.shape)

    @property
    def name(self) -> str:
        """The layer in words: `mix (Lambda)`."""
        return f"{self.layer.name} ({type(self.layer).__name__})"

    def along(self, variable: Any, axis: int, ids: Ids, role: Role) -> None:
        """Notes that channels lie along an axis of a weight of the layer."""
        self.channels.along(self.layer, variable, axis, ids, role)

    def multiplies(self, variable: Any, tensor: KerasTensor) -> None:
        """Notes how often a kernel is applied: once at each place of a tensor."""
        self.channels.multiplies(variable, self.sizes.places(tensor))

    def ids_of(self, tensor: Any) -> Ids:
        """The channels of one of the tensors that go in."""
        places = [id(given) for given in self.node.keras_inputs]
        return self.inputs[places.index(id(tensor))]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument of the call, given by position or by name."""
        if position < len(self.node.call_args):
            return self.node.call_args[position]
        return self.node.call_kwargs.get(name, default)

    def is_last(self, axis: Any) -> bool:
        """Whether an axis, or a list of one, is the last of the first input."""
        axes = tf.nest.flatten(axis)
        return len(axes) == 1 and axes[0] % len(self.input_shape) == len(self.input_shape) - 1


class CannotSlice(Exception):
    """A rule does not cover a call: its channels stay as they are."""
