"""Shows that a translated model computes what the Keras 3 model does, or where it does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tf_keras

from tfopt.errors import ModelError
from tfopt.keras2.comparing import difference
from tfopt.keras3.running import as_arrays, repeated, run_keras3, run_tf_keras
from tfopt.keras3.samples import Samples, suited
from tfopt.keras3.translation import Translation

# Share of the largest value by which rounding may move a value: in one layer, through a deep model
# (several hundred layers were seen to reach 1.4e-4), and in half precision.
_ROUNDING = 2e-5
_DEEP_ROUNDING = 1e-3
_HALF_ROUNDING = 3e-2
_SEEDS = 3


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
    stateless scope: it is never changed. One of the comparisons goes layer by layer: a deep model's
    outputs may hardly depend on its first layers, and add up the rounding of all of them.

    Args:
        model: The Keras 3 model.
        translation: Its translation. Its weights are the user's again afterwards.

    Raises:
        ModelError: An output differs by more than rounding, or the model fails on random inputs; it
            names the first layer that does.
    """
    rounding = _HALF_ROUNDING if _has_half(model, translation) else _ROUNDING
    original = [weight.numpy() for _, weight in translation.pairs]
    with _values(translation, original):
        samples = suited(model, translation)
    try:
        for seed, trial in enumerate(_trials(translation, original, samples)):
            _set_weights(translation, trial.weights)
            with _values(translation, trial.weights):
                expected = run_keras3(model, translation, trial.inputs)
                received = run_tf_keras(translation.model, trial.inputs)
                worst = _worst(expected, received)
                if seed == 1 or not worst <= rounding:
                    _check_steps(translation, trial, rounding)
                if not worst <= rounding:
                    _check_only_rounding(model, translation, trial, worst)
    finally:
        _set_weights(translation, original)


def _check_only_rounding(model: Any, translation: Translation, trial: _Trial, worst: float) -> None:
    """Tells a wrong translation from a model that multiplies rounding: deep, untrained ones do.

    Raises:
        ModelError: The outputs differ by more than Keras 3's own do when the last bits of the
            inputs change.
    """
    nudged = [x * np.float32(1 + 1e-6) if x.dtype.kind == "f" else x for x in trial.inputs]
    own = _worst(*(run_keras3(model, translation, inputs) for inputs in (trial.inputs, nudged)))
    if not worst <= max(_DEEP_ROUNDING, 10 * own):
        raise _refusal("an output", worst, max(_DEEP_ROUNDING, 10 * own))


def _worst(expected: list[np.ndarray], received: list[np.ndarray]) -> float:
    return max(map(difference, expected, received))


def _trials(
    translation: Translation, original: list[np.ndarray], samples: Samples
) -> Iterator[_Trial]:
    """Yields the user's weights first, then varied ones."""
    for seed in range(_SEEDS):
        random = np.random.default_rng(seed)
        inputs = samples.arrays(random)
        values: dict[int, np.ndarray] = {}  # a variable may have two counterparts
        for (variable, _), value in zip(translation.pairs, original, strict=True):
            varied = _varied(variable.name, value, random) if seed else value
            values.setdefault(id(variable), varied)
        yield _Trial(inputs, [values[id(variable)] for variable, _ in translation.pairs])


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


def _has_half(model: Any, translation: Translation) -> bool:
    layers = [(layer.compute_dtype, "") for layer in model._flatten_layers()]
    casts = [("", getattr(step.call, "dtype", "")) for step in translation.steps]
    return any("float16" in f"{one} {other}" for one, other in [*layers, *casts])


def _refusal(where: str, worst: float, rounding: float) -> ModelError:
    return ModelError(
        received=f"{where} whose translation to tf_keras differs by {worst:.2g} of its largest "
        "value, on random inputs",
        expected=f"at most {rounding:.2g}, the rounding of floating point",
        fix="please report the layer and its settings; until then, replace it by plain layers",
    )


def _check_steps(translation: Translation, trial: _Trial, rounding: float) -> None:
    """Repeats the steps with Keras 3, each compared with what stands for it.

    Each step gets what its counterpart got, so that rounding does not add up. Where there are
    masks, which Keras 3 hands on beside its tensors, each gets what the steps before it gave.

    Raises:
        ModelError: Names the first step that differs.
    """
    if translation.masked:
        rounding = max(rounding, _DEEP_ROUNDING)
    model = translation.model
    tensors = [tensor for step in translation.steps for tensor in step.outputs]
    received = iter(run_tf_keras(tf_keras.Model(model.inputs, tensors), trial.inputs))
    inputs = map(keras.ops.convert_to_tensor, trial.inputs)
    values = dict(zip(map(id, model.inputs), inputs, strict=True))
    for step in translation.steps:
        expected = repeated(step, values)
        found = [next(received) for _ in step.outputs]
        worst = max(map(difference, as_arrays(expected), found), default=0.0)
        if not worst <= rounding:
            name = f"the layer {step.name!r} of class {type(step.call).__name__}"
            raise _refusal(name, worst, rounding)
        if not translation.masked:
            expected = list(map(keras.ops.convert_to_tensor, found))
        values.update(zip(map(id, step.outputs), expected, strict=True))
