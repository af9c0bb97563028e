"""Builds a tf_keras model anew along its own graph: a copy, without nested models if wanted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from tfopt.errors import ModelError
from tfopt.keras2.copying import copy_layer, copy_state, first_line
from tfopt.keras2.graph import Graph, example_inputs, recorded, traced, without_ellipsis
from tfopt.keras2.names import Names
from tfopt.keras2.rules import Rules
from tfopt.keras2.stack import every_scope


class LossWarning(UserWarning):
    """A loss or constraint that a model carries is left out."""


Copies = dict[int, tuple[Any, Any]]
"""A layer and its copy, by the layer's id."""


def flatten(model: Any, rules: Rules | None = None) -> Any:
    """Returns a new functional model without nesting that computes what `model` does.

    Nested models are dissolved into their layers (`conv` of `backbone` becomes `backbone_conv`),
    layers in half precision compute in 32 bits, dicts of inputs and outputs become flat ones named
    by their keys.

    Args:
        model: A tf_keras model, Sequential, functional or subclassed. It is left as it was.
        rules: What stands for some of its layers.

    Raises:
        ModelError: The model cannot be traced, or a layer cannot be rebuilt.
    """
    _warn_of_losses(model)
    graph = recorded(model) or traced(model, example_inputs(model))
    names = Names([*graph.input_names, *(node.layer.name for node in graph.nodes)])
    builder = _Builder(graph, inline=True, copies={}, names=names, rules=rules)
    inputs, outputs = builder.build(model)
    outputs = name_outputs(outputs, graph.outputs, names)
    flat = tf_keras.Model(single(inputs), single(outputs), name=model.name)
    if not isinstance(graph.outputs, dict):
        keep_output_names(model, flat)
    return flat


def copy(model: Any) -> Any:
    """Returns a new functional model with the same layers, names, weights and structure.

    Args:
        model: A tf_keras Sequential or functional model. It is left as it was.

    Raises:
        ModelError: The model is subclassed, or a layer cannot be rebuilt.
    """
    return _copy_of(model, _recorded(model), {})


def _recorded(model: Any) -> Graph:
    graph = recorded(model)
    if graph is None:
        raise ModelError(
            received=f"the model {model.name!r} of class {type(model).__name__}",
            expected="a Sequential or functional model",
            fix="pass it through tfopt.load_model first",
        )
    return graph


def _copy_of(model: Any, graph: Graph, copies: Copies) -> Any:
    """The copy, made of layers that were copied already where there are some."""
    names = Names([*graph.input_names, *(node.layer.name for node in graph.nodes)])
    inputs, outputs = _Builder(graph, inline=False, copies=copies, names=names).build(model)
    copied = tf_keras.Model(
        tf.nest.pack_sequence_as(graph.inputs, inputs),
        tf.nest.pack_sequence_as(graph.outputs, outputs),
        name=model.name,
    )
    keep_output_names(model, copied)
    return copied


def inline(model: Any, tensors: list[Any], names: Names, path: list[str], copies: Copies) -> Any:
    """Calls copies of a functional model's layers on tensors of another model.

    Args:
        model: The model to repeat.
        tensors: What its inputs stand for.
        names: The other model's layer names.
        path: What the names of the copies begin with.
        copies: Those made so far, which are called again.

    Returns:
        The outputs, flat.
    """
    builder = _Builder(_recorded(model), inline=True, copies=copies, names=names)
    return builder.repeat(tensors, path)


def single(tensors: list[Any]) -> Any:
    """Returns the tensor itself where there is only one."""
    return tensors[0] if len(tensors) == 1 else tensors


def name_outputs(tensors: list[Any], structure: Any, names: Names) -> list[Any]:
    """Makes the keys of a dict of outputs the names of the flat model's output layers.

    What is nested deeper is named by the way to it: `boxes_0` is the first of the list `boxes`.

    Args:
        tensors: The outputs, flat.
        structure: The outputs as the user's model nests them.
        names: The flat model's names.
    """
    if not isinstance(structure, dict):
        return tensors
    return [
        tensor
        if tensor._keras_history.layer.name == key
        else tf_keras.layers.Activation("linear", name=names.take(key))(tensor)
        for key, tensor in zip(_ways(structure), tensors, strict=True)
    ]


def _warn_of_losses(model: Any) -> None:
    """Says so where losses were added to a model: they hang on no layer that could be kept."""
    if any(type(layer).__name__ == "AddLoss" for layer in model._flatten_layers()):
        warnings.warn(
            f"The losses that add_loss added to the model {model.name!r} are left out: fine-tuning "
            "trains with the task's loss, and those of layers (regularizers, add_loss in call).",
            LossWarning,
            stacklevel=4,
        )


def _ways(structure: Any, way: str = "") -> Iterator[str]:
    """The keys and positions that lead to each tensor of a structure, joined, in flat order."""
    if not isinstance(structure, (dict, list, tuple)):
        yield way
        return
    keys = sorted(structure) if isinstance(structure, dict) else range(len(structure))
    for key in keys:
        yield from _ways(structure[key], f"{way}_{key}" if way else str(key))


def keep_output_names(model: Any, copied: Any) -> None:
    """Gives a copy the names that the labels and losses of a model's outputs go by.

    They may be others than those of the layers: set by the user, or a nested model's.

    Args:
        model: A Keras 3 or tf_keras model.
        copied: A tf_keras model with the same outputs in the same order.
    """
    names = list(getattr(model, "output_names", None) or ())
    if len(names) == len(set(names)) == len(copied.outputs):
        copied.output_names = names


class _Builder:
    """Calls a copy of each layer as the layer itself was called.

    Args:
        graph: The graph of the model at the top.
        inline: Whether to flatten, or to copy as it is.
        copies: The copies made so far, which nested models may share.
        names: The names of the new model.
        rules: What stands for some of the layers.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        inline: bool,
        copies: Copies,
        names: Names,
        rules: Rules | None = None,
    ) -> None:
        self._graph = graph
        self._inline = inline
        self._copies = copies
        self._names = names
        self._rules = rules or Rules()

    def build(self, model: Any) -> tuple[list[Any], list[Any]]:
        """Returns the new inputs and outputs, flat, the copies holding the weights."""
        graph = self._graph
        tensors = tf.nest.flatten(graph.inputs)
        with every_scope(model):
            inputs = [self._input(*pair) for pair in zip(tensors, graph.input_names, strict=True)]
            outputs = self.repeat(inputs, [])
        return inputs, outputs

    def repeat(self, inputs: list[Any], path: list[str]) -> list[Any]:
        """Returns the outputs, flat, the copies holding the weights."""
        outputs = self._run(self._graph, inputs, path)
        for layer, new in self._copies.values():
            if not isinstance(layer, tf_keras.Model):  # `copy` has filled those
                copy_state(layer, new)
        return outputs

    def _input(self, tensor: Any, name: str) -> Any:
        half = self._inline and tensor.dtype in (tf.float16, tf.bfloat16)
        spec = getattr(tensor, "type_spec", None)
        return tf_keras.Input(
            batch_size=tensor.shape[0],
            shape=tensor.shape[1:],
            dtype=tf.float32 if half else tensor.dtype,
            sparse=isinstance(spec, tf.SparseTensorSpec),
            ragged=isinstance(spec, tf.RaggedTensorSpec),
            name=self._names.take(name),
        )

    def _run(self, graph: Graph, inputs: list[Any], path: list[str], **fixed: bool) -> list[Any]:
        """Returns the outputs, flat, for new inputs.

        Args:
            graph: The calls to repeat.
            inputs: New tensors in place of the graph's inputs.
            path: Names of the models it is nested in.
            **fixed: `training=False` where the user called the nested model so: it holds inside.
        """
        values = dict(zip(map(id, tf.nest.flatten(graph.inputs)), inputs, strict=True))
        for node in graph.nodes:
            args, kwargs = _arguments(node, values)
            if node.layer._call_spec.expects_training_arg:
                kwargs |= fixed
            outputs = self._call(node.layer, args, kwargs, path)
            values.update(
                zip(map(id, tf.nest.flatten(node.outputs)), tf.nest.flatten(outputs), strict=True)
            )
        return [values[id(tensor)] for tensor in tf.nest.flatten(graph.outputs)]

    def _call(self, layer: Any, args: Any, kwargs: dict[str, Any], path: list[str]) -> Any:
        ruled = self._rules.applied(layer, args, kwargs)
        if ruled is not None:  # its layers may have names that there are rules for
            way = [*path, *ruled.path]
            return inline(ruled.model, ruled.tensors, self._names, way, self._copies)
        if self._inline and isinstance(layer, tf_keras.Model):
            return self._dissolve(layer, args, kwargs, [*path, layer.name])
        if id(layer) not in self._copies:
            self._copies[id(layer)] = layer, self._copy(layer, path)
        try:
            return self._copies[id(layer)][1](*_storable(layer, args), **kwargs)
        except Exception as error:  # the layer may be the user's: it may fail in any way
            raise ModelError(
                received=f"the layer {'/'.join([*path, layer.name])!r} of class "
                f"{type(layer).__name__}, a copy of which cannot be called: {first_line(error)}",
                expected="layers whose from_config(get_config()) gives the same layer",
                fix=f"write {type(layer).__name__}.get_config so that it returns every argument of "
                "__init__",
            ) from error

    def _dissolve(self, model: Any, args: Any, kwargs: dict[str, Any], path: list[str]) -> Any:
        graph = recorded(model)
        if graph:
            inputs = model._flatten_to_reference_inputs(args[0])
        else:
            graph, inputs = traced(model, *args, **kwargs), tf.nest.flatten(args[0])
        frozen = {"training": False} if kwargs.get("training") is False else {}
        return self._run(graph, list(inputs), path, **frozen)

    def _copy(self, layer: Any, path: list[str]) -> Any:
        name = self._names.take(layer.name, path)
        if isinstance(layer, tf_keras.Model):
            nested = _copy_of(layer, _recorded(layer), self._copies)
            nested._trainable = layer._trainable
            return nested
        return copy_layer(layer, name, float32=self._inline)


def _storable(layer: Any, args: Any) -> Any:
    """The arguments of a layer's call, those of `x[..., :3]` without the Ellipsis."""
    if type(layer).__name__ != "SlicingOpLambda" or len(args) != 2:
        return args
    whole = {"start": None, "stop": None, "step": None}
    return args[0], without_ellipsis(args[1], len(args[0].shape), whole)


def _arguments(node: Any, values: dict[int, Any]) -> tuple[Any, dict[str, Any]]:
    """The arguments a layer was called with, new tensors in place of the old.

    A recorded `training=None` is left out: it says nothing, and would be fixed in the new graph.
    """

    def new(value: Any) -> Any:
        if isinstance(value, tf.Variable):
            raise ModelError(
                received=f"the variable {value.name!r} used by {node.layer.name!r}, which belongs "
                "to no layer",
                expected="every weight inside a layer",
                fix="create it with add_weight in the build method of a tf_keras layer",
            )
        return values.get(id(value), value)

    args, kwargs = tf.nest.map_structure(new, (node.call_args, node.call_kwargs))
    if kwargs.get("training", False) is None:
        del kwargs["training"]
    return args, kwargs
