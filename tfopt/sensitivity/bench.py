"""Running a model again and again with some of its weights changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfopt.data import Arrays, matched
from tfopt.graph.batch_norm import recalibrate_batch_norm
from tfopt.graph.stepping import input_arrays
from tfopt.keras_gate import clone, tf_keras
from tfopt.measure.scores import AnyScore, score_of
from tfopt.sensitivity.probes import Change

if TYPE_CHECKING:
    from tfopt.task import Task

_BATCH = 256


class Bench:
    """A model on a fixed set of samples, built and traced once.

    Batch norms take new statistics after each change, as they would in the training to come: with
    those of before, a change looks far worse than it is.

    Args:
        model: A functional model of its own; after each run its weights are what they were.
        x: The samples.
        y: Their labels, for the metric; None without.
        task: The metric, with labels.

    References:
        Li et al., EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning, 2020,
        section 3.3 (what a pruned net is worth shows with its own batch-norm statistics).
    """

    def __init__(
        self, model: tf_keras.Model, x: Arrays, *, y: Arrays | None = None, task: Task | None = None
    ) -> None:
        self.model, self._task = model, task
        arrays = [
            np.asarray(array, tensor.dtype.as_numpy_dtype)
            for array, tensor in zip(input_arrays(model, x), model.inputs, strict=True)
        ]
        self.samples = len(arrays[0])
        self._batches = [
            [tf.constant(array[start : start + _BATCH]) for array in arrays]
            for start in range(0, self.samples, _BATCH)
        ]
        self._statistics = _statistics(model)
        names = model.input_names
        self._calibration = dict(zip(names, [array[:_BATCH] for array in arrays], strict=True))
        self._labels = None if y is None else matched(y, model.output_names)
        structure = model.input

        @tf.function(reduce_retracing=True)
        def run(arrays: list[tf.Tensor]) -> list[tf.Tensor]:
            given = tf.nest.pack_sequence_as(structure, arrays)
            return tf.nest.flatten(model(given, training=False))

        self._run = run
        self.metric = self._metric(self._outputs())
        """The metric before any change; None without labels."""
        with self._changed([]):
            self._reference = self._outputs()
        self._variance = [float(output.var(axis=0).mean()) for output in self._reference]

    def measured(self, changes: Sequence[Change]) -> tuple[float, float | None]:
        """Returns the error of the outputs and the metric of the model with some changes.

        Args:
            changes: Of different weights.

        Returns:
            The mean squared difference of the outputs as a share of their variance, and the metric;
            None for that without labels.
        """
        with self._changed(changes):
            outputs = self._outputs()
        return self._error(outputs), self._metric(outputs)

    @property
    def metric_name(self) -> str | None:
        """The metric's name; None without labels."""
        return None if self._labels is None else self._score().name

    @property
    def higher_is_better(self) -> bool:
        """Whether larger values of the metric are better."""
        return self._score().higher_is_better

    @contextmanager
    def _changed(self, changes: Sequence[Change]) -> Iterator[None]:
        """The model with other weights, and batch-norm statistics to go with them."""
        values = [pair for change in changes for pair in change.values]
        variables = [*(variable for variable, _ in values), *self._statistics]
        before = [variable.numpy() for variable in variables]
        try:
            for variable, value in values:
                variable.assign(value)
            if self._statistics:
                recalibrate_batch_norm(self.model, self._calibration)
            yield
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)

    def _outputs(self) -> list[np.ndarray]:
        parts = [[output.numpy() for output in self._run(batch)] for batch in self._batches]
        return [np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)]

    def _error(self, outputs: list[np.ndarray]) -> float:
        """The mean over the outputs; not finite ones count as very wrong."""
        errors = [
            float(np.square(output - reference).mean()) / max(variance, 1e-12)
            for output, reference, variance in zip(
                outputs, self._reference, self._variance, strict=True
            )
        ]
        return float(np.nan_to_num(np.mean(errors), nan=1e6, posinf=1e6))

    def _score(self) -> AnyScore:
        metric, loss = (self._task.metric, self._task.loss) if self._task else ("accuracy", None)
        return score_of(metric, loss, self.model.output_names)

    def _metric(self, outputs: list[np.ndarray]) -> float | None:
        if self._labels is None:
            return None
        score = self._score()
        score.add(self._labels, [output.astype(np.float32) for output in outputs])
        return score.value()


def bench_of(model: tf_keras.Model, task: Task, samples: int) -> Bench:
    """Returns a bench with a copy of a model and the first validation samples.

    Args:
        model: A functional model.
        task: Its validation data is read.
        samples: How many; all, if there are fewer.
    """
    x, y = next(iter(task.validation.batches(samples)))
    return Bench(clone(model), x, y=y, task=task)


def _statistics(model: tf_keras.Model) -> list[Any]:
    """The moving averages that `recalibrate_batch_norm` sets."""
    return [
        statistic
        for layer in model.layers
        if type(layer) is tf_keras.layers.BatchNormalization and layer.trainable
        for statistic in (layer.moving_mean, layer.moving_variance)
    ]
