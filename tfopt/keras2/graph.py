"""The layer calls of a tf_keras model as a list: as recorded, or traced from a `call` method."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.src.engine.functional import Functional
from tf_keras.src.engine.keras_tensor import KerasTensor

from tfopt.errors import ModelError
from tfopt.keras2.copying import first_line


@dataclasses.dataclass(frozen=True)
class Graph:
    """The calls that turn a model's inputs into its outputs.

    Args:
        inputs: The symbolic inputs, a nested structure.
        outputs: The symbolic outputs, a nested structure.
        nodes: tf_keras' record of each layer call, each after those it depends on.
    """

    inputs: Any
    outputs: Any
    nodes: list[Any]

    @property
    def input_names(self) -> list[str]:
        """The flat inputs' names: the keys of a dict, else their layers' names."""
        if isinstance(self.inputs, dict):
            return sorted(self.inputs)
        return [tensor._keras_history.layer.name for tensor in tf.nest.flatten(self.inputs)]


def recorded(model: Any) -> Graph | None:
    """The graph of a Sequential or functional model; None when its `call` is its own."""
    own_call = type(model).call not in (Functional.call, tf_keras.Sequential.call)
    if not model._is_graph_network or own_call or not model.inputs:
        return None
    by_depth = model._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    computable = {id(tensor) for tensor in model.inputs}
    kept = []
    for node in nodes:  # a loss added to the model may hang on tensors that are none of its own
        if not node.is_input and all(id(tensor) in computable for tensor in node.keras_inputs):
            kept.append(node)
            computable.update(map(id, tf.nest.flatten(node.outputs)))
    return Graph(model._nested_inputs, model._nested_outputs, kept)


def traced(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Graph:
    """Finds a subclassed model's graph by calling it on symbolic tensors.

    Args:
        model: A built tf_keras model. It is left as it was.
        inputs: Tensors or symbolic tensors like those it is called with, a nested structure.
        *args: Its other positional arguments.
        **kwargs: Its keyword arguments.

    Raises:
        ModelError: `call` does something that cannot be traced; the reason is chained.
    """
    symbols = tf.nest.map_structure(_symbol, inputs)
    if model._call_spec.expects_training_arg:
        kwargs.setdefault("training", None)  # each call of the new graph decides for itself
    with _nodes_restored(model):
        try:
            outputs = model.call(symbols, *args, **kwargs)
            nodes = nodes_between(symbols, outputs)
        except Exception as error:
            raise ModelError(
                received=f"the model {model.name!r} of class {type(model).__name__}, whose call() "
                f"cannot be traced into a graph of layers: {first_line(error)}",
                expected="a Sequential or functional model, or a call() that only calls layers "
                "and TensorFlow functions, the same ones for every input",
                fix="rebuild it with the functional API: tf_keras.Model(inputs, outputs)",
            ) from error
    return Graph(symbols, outputs, nodes)


def example_inputs(model: Any) -> Any:
    """Tensor specs like what a subclassed model has been called with.

    Raises:
        ModelError: It has not been called yet.
    """
    spec = model.save_spec()
    if spec is None and model.built and model._build_input_shape is not None:  # read from a file
        return _specs(model._build_input_shape)
    if spec is None or not model.built:
        raise ModelError(
            received=f"the model {model.name!r} of class {type(model).__name__}, which has not "
            "been called yet, so the shape of its inputs is unknown",
            expected="a built model",
            fix="call it once on a batch of real inputs, or use the functional API",
        )
    return spec[0][0]


def _specs(shape: Any) -> Any:
    """Specs for the shape, or the structure of shapes, that a model was built for."""
    if isinstance(shape, dict):
        return {key: _specs(value) for key, value in shape.items()}
    if isinstance(shape, tf.TensorShape) or not any(hasattr(part, "__len__") for part in shape):
        return tf.TensorSpec([None, *shape[1:]])
    return [_specs(part) for part in shape]


def is_symbol(value: Any) -> bool:
    """Whether a value is a symbolic tensor of tf_keras."""
    return isinstance(value, KerasTensor)


def without_ellipsis(key: Any, rank: int, whole: Any) -> Any:
    """Returns the key of a slice, an Ellipsis in it said in full: no format of tf_keras stores one.

    Args:
        key: What stands in the brackets; one without an Ellipsis comes back as it is.
        rank: How many axes the tensor has.
        whole: What stands for a whole axis.

    Example:
        >>> without_ellipsis((..., None, 1), 3, ":"), without_ellipsis(1, 3, ":")
        ([':', ':', None, 1], 1)
    """
    items = list(key) if isinstance(key, (list, tuple)) else [key]
    places = [place for place, item in enumerate(items) if item is Ellipsis]
    if not places:
        return key
    named = sum(item is not None for item in items) - 1
    items[places[0] : places[0] + 1] = [whole] * (rank - named)
    return items


def _symbol(tensor: Any) -> Any:
    return tf_keras.Input(batch_size=tensor.shape[0], shape=tensor.shape[1:], dtype=tensor.dtype)


@contextlib.contextmanager
def _nodes_restored(model: Any) -> Iterator[None]:
    """Forgets, afterwards, the calls recorded on the model's layers."""
    lists = [
        nodes
        for layer in model._flatten_layers()
        for nodes in (layer._inbound_nodes, layer._outbound_nodes)
    ]
    lengths = [len(nodes) for nodes in lists]
    try:
        yield
    finally:
        for nodes, length in zip(lists, lengths, strict=True):
            del nodes[length:]


def nodes_between(inputs: Any, outputs: Any) -> list[Any]:
    """The nodes the outputs depend on, each after its parents."""
    known = {id(tensor) for tensor in tf.nest.flatten(inputs)}
    ordered: list[Any] = []
    pending = [(tensor, False) for tensor in reversed(tf.nest.flatten(outputs))]
    while pending:
        tensor, parents_done = pending.pop()
        if id(tensor) in known:
            continue
        history = tensor._keras_history
        node = history.layer._inbound_nodes[history.node_index]
        if parents_done:
            ordered.append(node)
            known.update(map(id, tf.nest.flatten(node.outputs)))
        else:
            pending.append((tensor, True))
            pending += [(parent, False) for parent in reversed(node.keras_inputs)]
    return ordered
