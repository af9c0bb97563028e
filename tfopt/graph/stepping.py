"""Running a model call by call, to look at what each layer computes or to change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays, fitted, leaves, length
from tfopt.errors import DataError
from tfopt.graph.calls import Node, nodes, outputs
from tfopt.graph.sizes import nominal_sizes
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


def watch(
    model: tf_keras.Model, inputs: Sequence[Any], see: Callable[[Node, tf.Tensor], None]
) -> None:
    """Runs a model and shows each call with its first input before it is made.

    What `see` changes in a layer changes what the calls after it get.

    Args:
        model: A functional model.
        inputs: As for `steps`.
        see: Takes a call and its first input.

    Example:
        >>> from tfopt.testing import dense_net
        >>> watch(dense_net(), [np.ones((2, 8, 8, 1))], lambda node, x: print(node.layer.name, x.shape))
        flatten (2, 8, 8, 1)
        hidden (2, 64)
        probabilities (2, 32)
    """  # noqa: E501 - the doctest's line

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        recorded = tf.nest.flatten((node.call_args, node.call_kwargs))
        given = zip(recorded, tf.nest.flatten((args, kwargs)), strict=True)
        see(node, next(value for old, value in given if old is node.keras_inputs[0]))
        return plain_call(node, args, kwargs)

    for _ in steps(model, inputs, call):
        pass


def input_arrays(model: tf_keras.Model, inputs: Arrays) -> list[np.ndarray]:
    """Returns samples as one array for each input, in the model's order.

    Args:
        model: A functional model.
        inputs: Samples, as in `Task.representative_inputs`.

    Raises:
        DataError: They do not fit the model's inputs.
    """
    return fitted(inputs, model.input_names, [tensor.shape[1:] for tensor in model.inputs])


def check_varied(inputs: Arrays, *, without: str) -> None:
    """Refuses samples that are all the same: what is learned from them would suit that one only.

    Args:
        inputs: Samples, as in `Task.representative_inputs`.
        without: What needs no samples, to be used instead.

    Raises:
        DataError: There is one sample, or all are the same.

    Example:
        >>> check_varied(np.array([[1.0], [2.0]]), without="CorrectBias(method='analytic')")
    """
    count = length(inputs)
    if all((array == array[:1]).all() for _, array in leaves(inputs)):
        raise DataError(
            received="a single representative sample"
            if count == 1
            else f"{count} representative samples that are all the same",
            expected="samples that differ, some hundreds of them",
            fix=f"give the task more data, or use {without}, which needs none",
        )


def random_inputs(
    model: tf_keras.Model, *, like: Arrays | None = None, samples: int = 4, seed: int = 0
) -> list[np.ndarray]:
    """Returns made-up samples: floats from 0 to 1, integers and booleans that are all 0.

    None is negative: floats may be word numbers, or have their root taken.

    Args:
        model: A functional model.
        like: Samples whose sizes are taken where the model leaves them open; None: those of
            `nominal_sizes`.
        samples: How many, where the model leaves it open.
        seed: Of the floats.

    Example:
        >>> random_inputs(tf_keras.Sequential([tf_keras.layers.ReLU(input_shape=(3,))]))[0].shape
        (4, 3)
    """
    random = np.random.default_rng(seed)
    arrays = []
    if like is None:
        sizes = nominal_sizes(model).inputs
    else:
        sizes = tuple(array.shape[1:] for array in input_arrays(model, like))
    for tensor, sample in zip(model.inputs, sizes, strict=True):
        shape = [tensor.shape[0] or samples, *sample]
        values = random.random(shape) if tensor.dtype.is_floating else np.zeros(shape)
        arrays.append(values.astype(tensor.dtype.as_numpy_dtype))
    return arrays
