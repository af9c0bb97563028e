"""Puts the rewrites in the place of ops while TensorFlow traces a model.

Where the op is made, and not in the layers: so it does not matter whether an op comes from a layer,
an activation function, a `Lambda` or a custom layer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import tensorflow as tf
from tensorflow.python.eager import execute
from tensorflow.python.framework.func_graph import FuncGraph

from tfopt.tflite.rewrites import table
from tfopt.tflite.rewrites.call import Call, are_rewritten


@contextlib.contextmanager
def rewritten(*, integer: bool, wide: bool = False) -> Iterator[None]:
    """Makes TensorFlow trace other ops instead of some, in this thread.

    Args:
        integer: Rewrite what has no integer op; else only what TensorFlow Lite has no op for.
        wide: The integers are to be of 16 bits, of which fewer ops know.

    Example:
        >>> with rewritten(integer=True):
        ...     function = tf.function(tf.nn.elu).get_concrete_function(tf.TensorSpec([2]))
        >>> "Elu" in {op.type for op in function.graph.get_operations()}
        False
    """
    rewrites = table.WIDE if wide else table.INTEGER if integer else table.ANY
    make = FuncGraph._create_op_internal
    thread = threading.get_ident()

    def make_instead(graph: Any, op_type: str, inputs: Any, *args: Any, **settings: Any) -> Any:
        here = threading.get_ident() == thread and are_rewritten()
        if here and op_type in rewrites:
            attributes = settings.get("attrs") or {}
            with graph.as_default(), tf.name_scope(settings.get("name") or op_type):
                results = rewrites[op_type](Call(op_type, tuple(inputs), attributes))
                if results is not None:
                    return _as_one_op(results)
        return make(graph, op_type, inputs, *args, **settings)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(FuncGraph, "_create_op_internal", make_instead))
        # a Lambda layer records gradients, for which an op would be asked for settings it had
        stack.enter_context(mock.patch.object(execute, "must_record_gradient", lambda: False))
        for layer, call in table.LAYERS.items() if integer else ():
            stack.enter_context(mock.patch.object(layer, "call", call))
        yield


def _as_one_op(results: tf.Tensor | list[tf.Tensor]) -> tf.Operation:
    """An op that has the results as its outputs, as callers expect of the op they made."""
    if isinstance(results, list):
        return tf.raw_ops.IdentityN(input=results)[0].op
    return tf.identity(results).op
