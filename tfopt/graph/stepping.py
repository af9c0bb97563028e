"""Running a model call by call, to look at what each layer computes or to change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays, columns
from tfopt.errors import DataError
from tfopt.graph.calls import Node, nodes, outputs
from tfopt.keras_gate import tf_keras


def plain_call(node: Node, args: Any, kwargs: Any) -> Any:
    """Makes a call as it is."""
    return node.layer(*args, **kwargs)


def steps(
    model: tf_keras.Model,
    inputs: Sequence[Any],
    call: Callable[[Node, Any, Any], Any] = plain_call,
) -> Iterator[tuple[Node, list[tf.Tensor]]]:
    """Makes the calls of a model one by one, for inference, and yields what each gives.

    Args:
        model: A functional model.
        inputs: An array for each input, in the model's order; all samples are run at once.
        call: Makes a call: gets it, its arguments and its keyword arguments.

    Returns:
        The calls in order, inputs included, each with its outputs. A tensor that no call needs any
        more is let go, so that no more than a few are held at a time.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.ReLU(input_shape=(2,))])
        >>> [float(values[0][0, 0]) for _, values in steps(model, [np.array([[-1.0, 1.0]])])]
        [-1.0, 0.0]
    """
    given = {
        id(tensor): tf.cast(array, tensor.dtype)
        for tensor, array in zip(model.inputs, inputs, strict=True)
    }
    uses = Counter(id(tensor) for node in nodes(model) for tensor in node.keras_inputs)
    values: dict[int, tf.Tensor] = {}

    def value(leaf: Any) -> Any:
        return values.get(id(leaf), leaf)

    for node in nodes(model):
        if node.is_input:
            results = [given[id(tensor)] for tensor in outputs(node)]
        else:
            args, kwargs = tf.nest.map_structure(value, (node.call_args, node.call_kwargs))
            results = tf.nest.flatten(call(node, args, kwargs))
        yield node, results
        for tensor, result in zip(outputs(node), results, strict=True):
            if uses[id(tensor)]:
                values[id(tensor)] = result
        uses.subtract(id(tensor) for tensor in node.keras_inputs)
        for tensor in node.keras_inputs:
            if not uses[id(tensor)]:
                values.pop(id(tensor), None)


def input_arrays(model: tf_keras.Model, inputs: Arrays) -> list[np.ndarray]:
    """Returns samples as one array for each input, in the model's order.

    Args:
        model: A functional model.
        inputs: Samples, as in `Task.representative_inputs`.

    Raises:
        DataError: They do not fit the model's inputs.
    """
    arrays = columns(inputs, model.input_names)
    for name, array, wanted in zip(model.input_names, arrays, model.inputs, strict=True):
        if not wanted.shape[1:].is_compatible_with(np.shape(array)[1:]):
            raise DataError(
                received=f"samples of shape {np.shape(array)[1:]} for {name!r}",
                expected=f"shape {tuple(wanted.shape[1:])}, where None is any size",
                fix="pass inputs as the model takes them, the first axis counting samples",
            )
    return arrays


def random_inputs(model: tf_keras.Model, *, samples: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Returns made-up samples: normal floats, integers and booleans that are all 0.

    Args:
        model: A functional model; dimensions it leaves open are taken as 16.
        samples: How many, where the model leaves it open.
        seed: Of the floats.

    Example:
        >>> random_inputs(tf_keras.Sequential([tf_keras.layers.ReLU(input_shape=(3,))]))[0].shape
        (4, 3)
    """
    random = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        shape = [tensor.shape[0] or samples, *(size or 16 for size in tensor.shape[1:])]
        floating = tensor.dtype.is_floating
        values = random.standard_normal(shape) if floating else np.zeros(shape)
        arrays.append(values.astype(tensor.dtype.as_numpy_dtype))
    return arrays
