"""Quantization-aware training: fine-tunes a model while it rounds as its 8-bit file will."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from tfopt import facts, selection
from tfopt.data import select
from tfopt.errors import LostGainError, TechniqueError
from tfopt.keras_gate import load_model, tf_keras
from tfopt.quantization.finish import finish
from tfopt.quantization.insert import (
    check_same_function,
    example_inputs,
    insert,
    separate_activations,
)
from tfopt.quantization.layout import plan
from tfopt.quantization.ranges import calibrate, model_inputs
from tfopt.technique import Selection, Stage
from tfopt.wrapping import AnyModel, FineTuned, Wrapped

if TYPE_CHECKING:
    from tfopt.data import Arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizationAware(FineTuned):
    """Fine-tunes."""

    stage: ClassVar[Stage] = Stage.QUANTIZATION
    calibration_samples: ClassVar[int] = 256

    learning_rate: float = 1e-4

    def select(self, model: tf_keras.Model) -> Selection:
        if facts.is_fake_quantized(model):
            raise TechniqueError(
                received=f"model {model.name!r}, which is fake-quantized already",
                expected="a float model",
                fix="make QuantizationAware the only and last training step; to train longer, raise its epochs",
            )
        return selection.select(model, lambda layer: None, only=self.only, skip=self.skip)

    def wrap(self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None) -> Wrapped:
        source = load_model(model)
        touched = frozenset(self.select(source).touched)
        before = facts.measure(source)
        float_model, touched = separate_activations(source, touched)
        layout = plan(float_model, touched)
        pair = insert(float_model, layout)
        if representative is None:
            check_same_function(pair, example_inputs(float_model))
        else:
            check_same_function(pair, model_inputs(float_model, select(representative, slice(0, 2))))
            calibrate(float_model, pair.ranges, representative)
        left_out = frozenset(layer.name for tensor, layer in pair.ranges if tensor.node.layer.name in layout.open_inputs)

        def strip() -> tf_keras.Model:
            finished = finish(pair.model, left_out=left_out)
            lost = facts.lost_gains(before, facts.measure(finished))
            if lost:
                raise LostGainError(received=lost[0], expected="gains kept", fix="report")
            return finished

        return Wrapped(pair.model, [], strip)
