"""Proving that a model that was rewritten still computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt.data import Arrays
from tfopt.errors import TechniqueError
from tfopt.graph.calls import outputs
from tfopt.graph.stepping import input_arrays, random_inputs, steps
from tfopt.keras_gate import tf_keras

# Rewritten, the same sums are rounded in another order: what deep nets make of that at most.
ROUNDING = 1e-4


def prove_same(
    before: tf_keras.Model,
    after: tf_keras.Model,
    inputs: Arrays | None = None,
    *,
    tolerance: float = ROUNDING,
) -> None:
    """Proves by running both that two models give the same outputs, up to float rounding.

    Args:
        before: A functional model.
        after: The model it was rewritten to.
        inputs: Samples to compare on, besides random ones.
        tolerance: Largest difference, as a share of the largest magnitude of an output.

    Raises:
        DataError: The inputs do not fit.
        TechniqueError: The outputs differ. It names the first layer that does: compared are layers
            of the same name, each channel by itself and whatever its scale, together with what was
            added behind or folded into them.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(2, name="top", input_shape=(3,))])
        >>> prove_same(model, model)
        >>> other = tf_keras.models.clone_model(model)
        >>> prove_same(model, other)
        Traceback (most recent call last):
        ...
        tfopt.errors.TechniqueError: Received ...
    """
    trials = [("random inputs", random_inputs(before))]
    if inputs is not None:
        trials.append(("the inputs given", input_arrays(before, inputs)))
    for where, arrays in trials:
        worst = difference(results(before, arrays), results(after, arrays))
        if not worst <= tolerance:
            first = first_difference(before, after, arrays, tolerance=tolerance)
            raise TechniqueError(
                received=f"model {after.name!r}, rewritten so that its outputs differ by "
                f"{worst:.2g} of the largest on {where}"
                + (f", from the layer {first!r} on" if first else ""),
                expected=f"at most {tolerance:.2g}, the rounding of floating point",
                fix="leave that layer out with skip=, and please report it",
            )


def results(model: tf_keras.Model, arrays: Sequence[Any]) -> list[np.ndarray]:
    """Returns a model's outputs, flat.

    Args:
        model: A functional model.
        arrays: One array for each input.
    """
    found = tf_keras.Model(model.inputs, model.outputs)(list(arrays), training=False)
    return [np.asarray(value) for value in (found if isinstance(found, list) else [found])]


def difference(expected: Sequence[np.ndarray], received: Sequence[np.ndarray]) -> float:
    """Returns the largest difference as a share of an output's largest magnitude.

    Example:
        >>> difference([np.array([4.0, 1.0])], [np.array([4.0, 2.0])])
        0.25
    """
    return max(map(_difference, expected, received), default=0.0)


def first_difference(
    before: tf_keras.Model,
    after: tf_keras.Model,
    arrays: Sequence[np.ndarray],
    *,
    tolerance: float = ROUNDING,
) -> str | None:
    """Returns the name of the first layer whose outputs differ other than by a channel's scale.

    Args:
        before: A functional model.
        after: The model it was rewritten to.
        arrays: One array for each input.
        tolerance: As in `prove_same`.
    """
    ours, theirs = _by_layer(before, after, arrays), _by_layer(after, before, arrays)
    for name, expected in ours.items():
        received = theirs.get(name)
        if received is None or received.shape != expected.shape:
            continue
        if not _difference(_unscaled(expected), _unscaled(received)) <= tolerance:
            return name
    return None


def _by_layer(
    model: tf_keras.Model, other: tf_keras.Model, arrays: Sequence[Any]
) -> dict[str, np.ndarray]:
    """What the layers give that both models have, with what follows that only this one has."""
    shared = {layer.name for layer in other.layers}
    owner: dict[int, str] = {}
    found: dict[str, np.ndarray] = {}
    for node, values in steps(model, arrays):
        name: str | None = node.layer.name
        if name not in shared:
            name = owner.get(id(node.keras_inputs[0])) if node.keras_inputs else None
        if name is not None:
            found[name] = np.asarray(values[0])
            owner[id(outputs(node)[0])] = name
    return found


def _unscaled(value: np.ndarray) -> np.ndarray:
    """A tensor with the largest magnitude of each channel at 1."""
    if value.ndim < 2 or not np.issubdtype(value.dtype, np.floating):
        return value
    largest = np.abs(value).max(axis=tuple(range(value.ndim - 1)), keepdims=True)
    return value / np.where(largest > 0, largest, 1)


def _difference(expected: np.ndarray, received: np.ndarray) -> float:
    """The largest difference of two arrays; infinite where only one is a number."""
    expected, received = (np.asarray(value, np.float64) for value in (expected, received))
    if expected.shape != received.shape:
        return np.inf
    finite = np.isfinite(expected)
    others_same = np.array_equal(expected[~finite], received[~finite], equal_nan=True)
    if not others_same or not np.isfinite(received[finite]).all():
        return np.inf
    scale = max(float(np.max(np.abs(expected[finite]), initial=0.0)), 1e-12)
    return float(np.max(np.abs(expected - received)[finite], initial=0.0)) / scale
