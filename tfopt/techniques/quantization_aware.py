"""Quantization-aware training: fine-tunes a model while it rounds as its integer file will."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from tfopt import data, facts
from tfopt.errors import LostGainError, TechniqueError
from tfopt.fine_tuning import AnyModel, FineTuned, Wrapped
from tfopt.graph.stepping import random_inputs
from tfopt.keras_gate import load_model, tf_keras
from tfopt.quantization.finish import finish
from tfopt.quantization.gains import keeper
from tfopt.quantization.insert import (
    check_same_function,
    insert,
    separate_activations,
)
from tfopt.quantization.layout import plan, reason_to_skip
from tfopt.quantization.ranges import calibrate, model_inputs
from tfopt.rounding.linear import TRANSPOSED
from tfopt.selection import check_touched, named
from tfopt.selection import select as select_layers
from tfopt.settings import check_bits, check_names
from tfopt.technique import Selection, Stage
from tfopt.training.updates import after_each_step

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizationAware(FineTuned):
    """Trains a model with the rounding of its integer file, so that the weights get used to it.

    Kernels are rounded to 8 or 4 bits with a scale for each output channel, activations to 8 with a
    range that is calibrated before the first step and moves with the batches from there. What
    earlier steps gained is found by measuring the kernels, and kept: zeros stay zeros, weights that
    share a value go on sharing one, and a kernel whose channels share their values gets one scale,
    so that the file's integers are as few.

    Layers other than convolutions and dense ones are rounded behind their output, and the kernels
    inside of attention, recurrent and TimeDistributed layers are; what else goes on inside them
    (and all ranges of a recurrent layer), the converter calibrates. A layer that cannot be rounded
    is skipped, with the reason. Skipped layers train on in floating point and keep their gains as
    well: zeros stay zeros, and a kernel whose weights share values is held at them. Frozen layers
    stay as they are.

    Args:
        epochs: Passes over the training data; fractions are allowed.
        learning_rate: Peak of the learning rate; a tenth of what the model was trained with is a
            good start.
        bits: Of a weight in the file: 8, or 4 for `Target.int4_weights()`. Transposed convolutions,
            of which no interpreter has a kernel for 4 bits, are rounded to 8.
        keep_int8: Names or class names of layers that are rounded to 8 bits where others are to 4:
            those of the target's `keep_int8`.
        only: Names or class names of the layers to fake-quantize; None for all that can be.
        skip: Names or class names of layers to leave in floating point while training.

    Raises:
        SettingError: A setting is out of its range.

    Example:
        >>> import numpy as np
        >>> layers = [tf_keras.Input((8,)), tf_keras.layers.Dense(4, activation="relu", name="top")]
        >>> inputs = np.random.default_rng(0).random((320, 8), np.float32)
        >>> wrapped = QuantizationAware().wrap(
        ...     tf_keras.Sequential(layers), steps_per_epoch=10, representative=inputs)
        >>> wrapped.model.compile("adam", "mse")
        >>> history = wrapped.model.fit(inputs, inputs[:, :4], verbose=0)
        >>> [layer.name for layer in wrapped.strip().layers][-2:]
        ['top', 'top_quantize']

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, 2018, section 3; Krishnamoorthi, Quantizing deep
        convolutional networks for efficient inference, 2018, sections 2.4 (straight-through
        gradients) and 3.2 (quantization-aware training).
    """

    stage: ClassVar[Stage] = Stage.QUANTIZATION
    headline: ClassVar[tuple[str, ...]] = ("epochs",)
    finishes: ClassVar[tuple[str, ...]] = ("CorrectBias",)
    calibration_samples: ClassVar[int] = 256

    learning_rate: float = 3e-4
    bits: int = 8
    keep_int8: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bits(self)
        check_names(self, "keep_int8")

    def select(self, model: tf_keras.Model) -> Selection:
        """Says which layers would be rounded in training, and why the others would not.

        Layers that hand numbers on as they are (Flatten, MaxPooling2D) or do nothing at inference
        (Dropout, RandomFlip) count as rounded.

        Raises:
            SettingError: `only`, `skip` or `keep_int8` names a layer that is not there.
            TechniqueError: The model is fake-quantized already, or no layer is left to round.
        """
        if facts.is_fake_quantized(model):
            raise TechniqueError(
                received=f"model {model.name!r}, which is fake-quantized already",
                expected="a model that has not been through quantization-aware training",
                fix="apply QuantizationAware once, as the last step; to train longer, raise epochs",
            )
        named(model, keep_int8=self.keep_int8)
        return check_touched(
            select_layers(model, reason_to_skip, only=self.only, skip=self.skip),
            model,
            can=f"{self.name} can touch no layer",
            expected="at least one layer that can be fake-quantized",
            fix="correct only and skip, or convert the model without this step",
        )

    def wrap_for(self, model: tf_keras.Model, task: Task) -> Wrapped:
        """Returns what `wrap` does, with the samples of a task."""
        inputs = task.representative_inputs(self.calibration_samples)
        return self._wrapped(load_model(model), inputs)

    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns a copy of a model that rounds as its integer file will, to be fitted.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Not needed.
            representative: Inputs like those of the device, some hundreds, to calibrate ranges
                with. Without them ranges come from the batches of the training to come, and the
                model gives nothing useful before the first.

        Returns:
            The model, no callbacks, and `strip`, which raises LostGainError if zeros or shared
            values were lost.

        Raises:
            DataError: The representative inputs do not fit the model.
            TechniqueError: No layer can be fake-quantized, the model is fake-quantized already, or
                it would no longer compute the same.
        """
        self.check_loop(steps_per_epoch)
        return self._wrapped(load_model(model), representative)

    def _wrapped(self, source: tf_keras.Model, representative: Arrays | None) -> Wrapped:
        before = facts.measure(source)
        selection = self.select(source)
        touched = frozenset(selection.touched)
        float_model, touched = separate_activations(source, touched)
        layout = plan(float_model, touched, self._four_bit(source))
        pair = insert(float_model, layout, before.kernels)
        if representative is None:
            check_same_function(pair, random_inputs(float_model))
        else:
            some = data.select(representative, slice(0, 2))
            check_same_function(pair, model_inputs(float_model, some))
            calibrate(float_model, pair.ranges, representative)
        keep = keeper(float_model, layout, before.kernels, touched=touched)
        if keep is not None:
            after_each_step(pair.model, keep)
        wrapped, left_out = pair.model, pair.layers_behind(layout.open_inputs)

        def strip() -> tf_keras.Model:
            finished = finish(wrapped, left_out=left_out)
            _check_gains(before, facts.measure(finished))
            return finished

        return Wrapped(wrapped, [], strip, selection)

    def _four_bit(self, model: tf_keras.Model) -> frozenset[str]:
        """The names of the layers whose weights have 4 bits in the file, if they have any."""
        if self.bits == 8:
            return frozenset()
        wide = named(model, keep_int8=self.keep_int8)
        names = {layer.name for layer in model.layers if type(layer) not in TRANSPOSED}
        return frozenset(names - wide)


def _check_gains(before: facts.ModelFacts, after: facts.ModelFacts) -> None:
    """Refuses a result in which zeros or shared values are fewer than before."""
    lost = facts.lost_gains(before, after)
    if lost:
        raise LostGainError(
            received=f"a model in which, after training, {'; '.join(lost)}",
            expected="the zeros and the shared weights that earlier steps had gained",
            fix="train the model that wrap returned with its own weights: they must not be set "
            "from outside, nor its layers be replaced",
        )
