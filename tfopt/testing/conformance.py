"""What must hold for every technique, a third party's included."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from tfopt import facts
from tfopt.keras_gate import clone
from tfopt.recipe import TECHNIQUES, technique_from_dict, technique_to_dict
from tfopt.target import Target
from tfopt.technique import Stage, Technique
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task


def check_technique(technique: Technique, model: tf_keras.Model, *, task: Task) -> tf_keras.Model:
    """Applies a technique and checks everything a technique promises.

    The input is left as it was; every layer is touched or listed with a reason; inputs and outputs
    keep their shapes; no training wrapper is left; the same seed gives the same weights; what
    earlier steps gained is kept; the result converts to float32 and to an integer-only int8 file;
    the settings survive JSON.

    Args:
        technique: The technique, with settings that train little.
        model: A tf_keras functional model, such as `tfopt.testing.small_cnn()`.
        task: Data that fits the model.

    Returns:
        The optimized model, for checks of your own.

    Raises:
        AssertionError: A promise is broken; the message says which.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import check_technique, dense_net
        >>> optimized = check_technique(tfopt.MagnitudePruning(sparsity=0.5, epochs=0.5),
        ...                             dense_net(), task=tfopt.Task.digits())
    """
    before, weights, trainable = _state(model)
    _check_selection(technique, model)
    optimized = technique.apply(model, task)

    after, weights_after, trainable_after = _state(model)
    _require(before == after, "the input model's architecture was changed")
    _require(_same(weights, weights_after), "the input model's weights were changed")
    _require(trainable == trainable_after, "the input model's trainable flags were changed")
    for side in ("input_shape", "output_shape"):
        ours, theirs = getattr(optimized, side), getattr(model, side)
        _require(ours == theirs, f"the {side} changed from {theirs} to {ours}")
    _check_wrappers(technique, optimized)
    again = technique.apply(clone(model), task)
    _require(
        _same(optimized.get_weights(), again.get_weights()), "the same seed gave other weights"
    )
    lost = facts.lost_gains(facts.measure(model), facts.measure(optimized))
    _require(not lost, f"earlier gains were lost: {'; '.join(lost)}")
    convert(optimized, task=task, target=Target.float32())
    _require(
        inspect(convert(optimized, task=task, target=Target.int8())).integer_only,
        "the int8 file computes in floating point",
    )
    _check_json(technique)
    return optimized


def _state(model: tf_keras.Model) -> tuple[str, list[np.ndarray], list[bool]]:
    """What must not change in the input: architecture, weights, trainable flags."""
    return model.to_json(), model.get_weights(), [layer.trainable for layer in model.layers]


def _check_selection(technique: Technique, model: tf_keras.Model) -> None:
    """Every layer but the inputs is touched, or skipped with a reason; none is both."""
    selection = technique.select(model)
    skipped = {skip.layer for skip in selection.skipped}
    layers = {layer.name for layer in model.layers if type(layer).__name__ != "InputLayer"}
    both = set(selection.touched) & skipped
    _require(not both, f"layers are both touched and skipped: {sorted(both)}")
    missing = layers - skipped - set(selection.touched)
    _require(not missing, f"layers are neither touched nor listed: {sorted(missing)}")
    _require(all(skip.reason for skip in selection.skipped), "a layer is skipped without a reason")


def _check_wrappers(technique: Technique, optimized: tf_keras.Model) -> None:
    """Wrappers of the training are gone; fake quantization is the result of its own stage."""
    allowed = technique.stage >= Stage.QUANTIZATION
    for layer in optimized.layers:
        module = type(layer).__module__
        stripped = not module.startswith("tensorflow_model_optimization")
        _require(stripped or (allowed and "quantiz" in module), f"{layer.name} is still wrapped")


def _check_json(technique: Technique) -> None:
    """Settings survive JSON (only a technique of tfopt's own table can be read back by name)."""
    text = json.dumps(technique_to_dict(technique))
    if type(technique).__name__ in TECHNIQUES:
        _require(technique_from_dict(json.loads(text)) == technique, "JSON changed the settings")


def _same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    """Bit for bit the same weights."""
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


def _require(holds: bool, broken: str) -> None:
    """Says which promise is broken."""
    if not holds:
        raise AssertionError(broken)
