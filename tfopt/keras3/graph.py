"""The calls of a Keras 3 model: as Keras 3 recorded them, or traced from a `call` method."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.models.functional import Functional

from tfopt.errors import ModelError
from tfopt.keras2.copying import first_line


@dataclasses.dataclass(frozen=True)
class Graph:
    """The calls that turn a model's inputs into its outputs.

    Args:
        inputs: The symbolic inputs, a nested structure.
        outputs: The symbolic outputs, a nested structure.
        nodes: Keras 3's record of each call, each after those it depends on.
    """

    inputs: Any
    outputs: Any
    nodes: list[Any]

    @property
    def input_names(self) -> list[str]:
        """The flat inputs' names: the keys of a dict, else their layers' names."""
        if isinstance(self.inputs, dict):
            return sorted(self.inputs)
        return [tensor._keras_history.operation.name for tensor in keras.tree.flatten(self.inputs)]

    def is_index(self, tensor: Any) -> bool:
        """Whether an embedding looks rows up by this tensor."""
        return any(
            isinstance(node.operation, keras.layers.Embedding)
            and any(parent is tensor for parent in node.arguments.keras_tensors)
            for node in self.nodes
        )

    def ordered(self, argument: Any) -> list[Any]:
        """What the model was called with, in the order of its inputs."""
        if isinstance(argument, dict) and not isinstance(self.inputs, dict):
            return [argument[name] for name in self.input_names]
        return keras.tree.flatten(argument)


def recorded(model: Any) -> Graph | None:
    """The graph of a Sequential or functional model; None when its `call` is its own."""
    if type(model).call not in (Functional.call, keras.Sequential.call):
        return None
    function = model._functional if isinstance(model, keras.Sequential) else model
    if function is None:
        return None
    by_depth = function._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    return Graph(
        function._inputs_struct,
        function._outputs_struct,
        [node for node in nodes if not node.is_input],
    )


def graph_of(model: Any) -> tuple[Graph, list[Any]]:
    """Returns the calls of any Keras 3 model, and symbols for the arguments it is called with.

    Raises:
        ModelError: A subclassed model was never called, or cannot be traced.
    """
    graph = recorded(model)
    if graph is not None:
        return graph, [graph.inputs]
    symbols = _input_symbols(model)
    kwargs = {"training": False} if model._call_has_training_arg else {}
    try:
        graph = traced(model.call, symbols, kwargs, owner=model)
        for symbol, tensor in zip(keras.tree.flatten(symbols), graph.inputs, strict=True):
            if graph.is_index(tensor):  # a built model knows its inputs' shapes, not their types
                symbol._dtype = "int32"
        return _named(traced(model.call, symbols, kwargs, owner=model), symbols), symbols
    except Exception as error:
        raise ModelError(
            received=f"the model {model.name!r} of class {type(model).__name__}, whose call() "
            f"cannot be traced into a graph of layers: {first_line(error)}",
            expected="a Sequential or functional model, or a call() that only calls layers and "
            "keras.ops, the same ones for every input",
            fix="rebuild it with the functional API: keras.Model(inputs, outputs)",
        ) from error


def _named(graph: Graph, symbols: list[Any]) -> Graph:
    """A traced graph whose inputs are named by the keys of the dict the model is called with."""
    if (
        len(symbols) != 1
        or not isinstance(symbols[0], dict)
        or len(symbols[0]) != len(graph.inputs)
    ):
        return graph
    return dataclasses.replace(
        graph, inputs=dict(zip(sorted(symbols[0]), graph.inputs, strict=True))
    )


def _input_symbols(model: Any) -> Any:
    """Symbolic tensors like those a subclassed model has been called with: its arguments.

    Raises:
        ModelError: It has not been called yet.
    """
    shapes = getattr(model, "_build_shapes_dict", None)
    if not model.built or not shapes:
        raise ModelError(
            received=f"the model {model.name!r} of class {type(model).__name__}, whose inputs' "
            "shape is unknown: it has not been called yet, or Keras could not trace its call()",
            expected="a built model",
            fix="call it once on a batch of real inputs, or use the functional API",
        )
    dtype = model.input_dtype if "float" not in model.input_dtype else "float32"
    return [
        keras.tree.map_shape_structure(
            lambda shape: keras.KerasTensor((None, *shape[1:]), dtype=dtype), shape
        )
        for shape in shapes.values()
    ]


def traced(function: Any, args: Any, kwargs: dict[str, Any], *, owner: Any = None) -> Graph:
    """Finds the graph inside a function, or a layer's or model's `call`, by calling it on symbols.

    Args:
        function: What to call. It, and what it calls, are left as they were.
        args: What it is called with: its positional arguments, symbolic tensors in them.
        kwargs: Its keyword arguments.
        owner: The layer or model whose method it is.

    Raises:
        Exception: Whatever the function raises when its tensors have no values.
        ValueError: It uses some of the owner's weights in a way that leaves no trace.
    """
    inputs: list[Any] = []

    def symbol(leaf: Any) -> Any:
        if not isinstance(leaf, keras.KerasTensor):
            return leaf
        inputs.append(keras.Input(batch_shape=leaf.shape, dtype=leaf.dtype, sparse=leaf.sparse))
        return inputs[-1]

    args, kwargs = keras.tree.map_structure(symbol, (tuple(args), kwargs))
    # Without the scope, a variable that the function assigns to would be changed.
    with keras.StatelessScope(), _nodes_restored(owner):
        outputs = function(*args, **kwargs)
        nodes = _nodes_between(inputs, outputs)
    if owner is not None and not _weights_of(owner) <= _weights_in(nodes):
        raise ValueError(f"{type(owner).__name__}.call computes with weights outside of any layer")
    return Graph(inputs, outputs, nodes)


def signature(arguments: Any) -> str:
    """What tells calls of the same function apart: the shapes and types of their tensors."""
    return str(
        keras.tree.map_structure(
            lambda leaf: (
                f"{leaf.shape} {leaf.dtype}" if isinstance(leaf, keras.KerasTensor) else repr(leaf)
            ),
            arguments,
        )
    )


def _weights_of(layer: Any) -> set[int]:
    return set(map(id, layer.weights))


def _weights_in(nodes: list[Any]) -> set[int]:
    """The weights the calls of a graph use: their layers', and those that are arguments."""
    found: set[int] = set()
    for node in nodes:
        if isinstance(node.operation, keras.layers.Layer):
            found |= _weights_of(node.operation)
        leaves = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
        found |= {id(leaf) for leaf in leaves if isinstance(leaf, keras.Variable)}
    return found


@contextlib.contextmanager
def _nodes_restored(owner: Any) -> Iterator[None]:
    """Forgets, afterwards, the calls recorded on the layers inside."""
    lists = [
        nodes
        for inner in (owner._flatten_layers() if owner is not None else ())
        for nodes in (inner._inbound_nodes, inner._outbound_nodes)
    ]
    lengths = [len(nodes) for nodes in lists]
    try:
        yield
    finally:
        for nodes, length in zip(lists, lengths, strict=True):
            del nodes[length:]


def _nodes_between(inputs: list[Any], outputs: Any) -> list[Any]:
    """The nodes the outputs depend on, each after its parents."""
    known = set(map(id, inputs))
    ordered: list[Any] = []
    pending = [(tensor, False) for tensor in reversed(keras.tree.flatten(outputs))]
    while pending:
        tensor, parents_done = pending.pop()
        if id(tensor) in known:
            continue
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if parents_done:
            ordered.append(node)
            known.update(map(id, node.outputs))
        else:
            pending.append((tensor, True))
            parents = node.arguments.keras_tensors
            pending += [(parent, False) for parent in reversed(parents)]
    return ordered
