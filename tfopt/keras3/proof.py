"""Shows that a translated model computes what the Keras 3 model does, or where it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tf_keras

from tfopt.errors import ModelError
from tfopt.keras3.translation import Translation

# Share of the largest output by which 32-bit rounding may move an output in a deep model, and what
# half precision may.
_ROUNDING = 1e-4
_HALF_ROUNDING = 3e-2
_SEEDS = 3
# Tried in turn for a size that the model leaves open: the first that is large enough for it.
_OPEN_SIZES = (16, 64, 256, 4096)


@dataclasses.dataclass(frozen=True)
class _Trial:
    """Random inputs and weights.

    Args:
        inputs: One array for each input.
        weights: One array for each pair of weights.
    """

    inputs: list[np.ndarray]
    weights: list[np.ndarray]


def prove(model: Any, translation: Translation) -> None:
    """Compares the two models on random inputs, first with the user's weights, then varied ones.

    The varied weights have batch-norm statistics, biases and factors away from their initial
    zeros and ones, under which a wrong translation could hide. The Keras 3 model sees them in a
    stateless scope: it is never changed. One of the comparisons goes layer by layer, since a deep
    untrained model's outputs hardly depend on its first layers.

    Args:
        model: The Keras 3 model.
        translation: Its translation. Its weights are the user's again afterwards.

    Raises:
        ModelError: An output differs by more than rounding; it names the first layer that does.
    """
    rounding = _HALF_ROUNDING if _has_half(model) else _ROUNDING
    original = [weight.numpy() for _, weight in translation.pairs]
    try:
        size = _open_size(model, translation)
        for seed, trial in enumerate(_trials(translation, original, size)):
            _set_weights(translation, trial.weights)
            with _values(translation, trial.weights):
                expected = _call_keras3(model, translation, trial.inputs)
            received = _call_tf_keras(translation.model, trial.inputs)
            worst = max(map(_difference, expected, received))
            if seed == 1 or not worst <= rounding:
                _check_steps(translation, trial, rounding)
            if not worst <= rounding:
                raise _refusal("an output", worst, rounding)
    finally:
        _set_weights(translation, original)


def _open_size(model: Any, translation: Translation) -> int:
    if all(None not in tensor.shape[1:] for tensor in translation.model.inputs):
        return _OPEN_SIZES[0]
    for size in _OPEN_SIZES[:-1]:
        inputs = _random_inputs(translation, np.random.default_rng(0), size)
        try:
            _call_keras3(model, translation, inputs)
        except Exception:  # whatever a layer says to an input that is too small
            continue
        return size
    return _OPEN_SIZES[-1]


def _trials(translation: Translation, original: list[np.ndarray], size: int) -> Iterator[_Trial]:
    """Yields the user's weights first, then varied ones."""
    for seed in range(_SEEDS):
        random = np.random.default_rng(seed)
        inputs = _random_inputs(translation, random, size)
        values: dict[int, np.ndarray] = {}  # a variable may have two counterparts
        for (variable, _), value in zip(translation.pairs, original, strict=True):
            varied = _varied(variable.name, value, random) if seed else value
            values.setdefault(id(variable), varied)
        yield _Trial(inputs, [values[id(variable)] for variable, _ in translation.pairs])


def _random_inputs(
    translation: Translation, random: np.random.Generator, size: int
) -> list[np.ndarray]:
    """Returns an array for each input, `size` long where the model leaves the size open."""
    rows = [
        step.call.input_dim
        for step in translation.steps
        if isinstance(step.call, keras.layers.Embedding)
    ]
    arrays = []
    for tensor in translation.model.inputs:
        batch, *rest = tensor.shape
        shape = [batch or 2, *(length or size for length in rest)]
        if tensor.dtype.is_floating:
            arrays.append(random.standard_normal(shape).astype(tensor.dtype.as_numpy_dtype))
        else:
            top = min([*rows, 10]) if not tensor.dtype.is_bool else 2
            arrays.append(random.integers(0, top, shape).astype(tensor.dtype.as_numpy_dtype))
    return arrays


def _varied(name: str, value: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A weight in a sane range around the user's, away from where initial values would hide it."""
    if not np.issubdtype(value.dtype, np.floating):
        return value
    factor = random.uniform(0.8, 1.25, value.shape)
    if "variance" in name:
        return np.asarray(value * factor, value.dtype)
    if name in ("moving_mean", "gamma", "beta", "bias", "scale") or value.ndim <= 1:
        return np.asarray(value * factor + random.normal(0, 0.05, value.shape), value.dtype)
    return value


def _values(translation: Translation, weights: list[np.ndarray]) -> Any:
    """A scope in which the Keras 3 model's variables have other values."""
    pairs = zip(translation.pairs, weights, strict=True)
    return keras.StatelessScope(
        state_mapping=[
            (variable, keras.ops.convert_to_tensor(value, dtype=variable.dtype))
            for (variable, _), value in pairs
        ]
    )


def _set_weights(translation: Translation, values: list[np.ndarray]) -> None:
    weights = (weight for _, weight in translation.pairs)
    tf_keras.backend.batch_set_value(list(zip(weights, values, strict=True)))


def _call_keras3(model: Any, translation: Translation, inputs: list[np.ndarray]) -> list[Any]:
    tensors = [keras.ops.convert_to_tensor(array) for array in inputs]
    args = keras.tree.pack_sequence_as(translation.args, tensors)
    kwargs = {"training": False} if model._call_has_training_arg else {}
    return _arrays(model(*args, **kwargs))


def _call_tf_keras(model: Any, inputs: list[np.ndarray]) -> list[Any]:
    return _arrays(model(inputs[0] if len(inputs) == 1 else inputs, training=False))


def _arrays(outputs: Any) -> list[np.ndarray]:
    """The outputs, flat."""
    return [
        np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in keras.tree.flatten(outputs)
    ]


def _difference(expected: np.ndarray, received: np.ndarray) -> float:
    """The largest difference as a share of the largest value; infinite where NaN differ."""
    if expected.shape != received.shape or expected.size == 0:
        return 0.0 if expected.shape == received.shape else np.inf
    expected, received = expected.astype(np.float64), received.astype(np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], received[~finite], equal_nan=True):
        return np.inf
    scale = max(float(np.max(np.abs(expected[finite]), initial=0.0)), 1e-3)
    return float(np.max(np.abs(expected - received)[finite], initial=0.0)) / scale


def _has_half(model: Any) -> bool:
    return any("float16" in str(layer.compute_dtype) for layer in model._flatten_layers())


def _refusal(where: str, worst: float, rounding: float) -> ModelError:
    return ModelError(
        received=f"{where} whose translation to tf_keras differs by {worst:.2g} of its largest "
        "value, on random inputs",
        expected=f"at most {rounding:.2g}, the rounding of floating point",
        fix="please report the layer and its settings; until then, replace it by plain layers",
    )


def _check_steps(translation: Translation, trial: _Trial, rounding: float) -> None:
    """Repeats the steps with Keras 3, each compared with what stands for it.

    Raises:
        ModelError: Names the first step that differs.
    """
    model = translation.model
    tensors = [tensor for step in translation.steps for tensor in step.outputs]
    received = iter(_call_tf_keras(tf_keras.Model(model.inputs, tensors), trial.inputs))
    values = dict(
        zip(map(id, model.inputs), map(keras.ops.convert_to_tensor, trial.inputs), strict=True)
    )
    with _values(translation, trial.weights):
        for step in translation.steps:
            args, kwargs = keras.tree.map_structure(
                lambda leaf: values.get(id(leaf), leaf), (step.args, step.kwargs)
            )
            if getattr(step.call, "_call_has_training_arg", False):
                kwargs["training"] = False
            outputs = keras.tree.flatten(step.call(*args, **kwargs))
            values.update(zip(map(id, step.outputs), outputs, strict=True))
            worst = max(map(_difference, _arrays(outputs), received), default=0.0)
            if not worst <= rounding:
                name = f"the layer {step.name!r} of class {type(step.call).__name__}"
                raise _refusal(name, worst, rounding)
