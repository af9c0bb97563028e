"""A model's graph with constants for its variables: written here, converted in another process.

TensorFlow's own way would make a function of the frozen graph, and its converter would freeze that
again: of the weights, fourteen copies in memory at once more, and longer than the conversion.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.lite.python import lite
from tensorflow.python.framework import convert_to_constants

_GRAPH = "graph.pb"
_ENDS = "ends.json"


def write(function: Any, directory: str) -> None:
    """Writes a concrete function as a frozen graph.

    Args:
        function: The concrete function.
        directory: Where to write; `Converter` reads it.
    """
    variables = convert_to_constants._FunctionConverterDataInEager(
        func=function, lower_control_flow=False, aggressive_inlining=False
    )
    graph, indices = convert_to_constants._replace_variables_by_constants(variables)
    captured = {id(function.graph.internal_captures[index]) for index in indices}
    inputs = [
        (tensor.name, tensor.dtype.name, tensor.shape.as_list())
        for tensor in function.inputs
        if id(tensor) not in captured and tensor.dtype != tf.resource
    ]
    outputs = [(tensor.name, tensor.dtype.name) for tensor in function.outputs]
    _number_captures(graph)
    Path(directory, _GRAPH).write_bytes(graph.SerializeToString(deterministic=True))
    Path(directory, _ENDS).write_text(json.dumps([inputs, outputs]))


def _number_captures(graph: Any) -> None:
    """Names what a function captured without a name by its place in the graph.

    TensorFlow calls it by a number that counts through the process: tables of embeddings, above
    all. The converter's order is that of names, so that a model would give several files.
    """
    unnamed = [node.name for node in graph.node if node.name.split("/")[-1].isdigit()]
    names = {
        name: "/".join([*name.split("/")[:-1], f"captured_{place:05d}"])
        for place, name in enumerate(unnamed)
    }
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        for place, read in enumerate(node.input):
            name = read.removeprefix("^").split(":")[0]
            if name in names:
                node.input[place] = read.replace(name, names[name], 1)


class Converter(lite.TFLiteConverterBaseV2):
    """TensorFlow's converter, of a graph that is frozen already.

    Args:
        directory: What `write` wrote to.
    """

    graph_debug_info = None  # the stack traces of the ops that the graph was made of

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._trackable_obj = self
        graph = Path(directory, _GRAPH).read_bytes()
        self._graph = tf.compat.v1.GraphDef.FromString(graph)
        inputs, outputs = json.loads(Path(directory, _ENDS).read_text())
        self._inputs = [tf.TensorSpec(shape, kind, name) for name, kind, shape in inputs]
        self._outputs = [tf.TensorSpec(None, kind, name) for name, kind in outputs]

    def convert(self) -> bytes:
        """Returns the content of the file."""
        converted: bytes = super().convert(self._graph, self._inputs, self._outputs)
        return converted

    def _optimize_tflite_model(self, *args: Any, **settings: Any) -> bytes:
        """Quantizes the float file; of the graph, which holds the weights too, it reads the ops."""
        for node in self._graph.node:
            node.attr.pop("value", None)
        optimized: bytes = super()._optimize_tflite_model(*args, **settings)
        return optimized
