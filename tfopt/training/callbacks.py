"""What watches a training: for NaN, for who is looking, for the best weights, for the clock."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfopt import progress
from tfopt.data import matched
from tfopt.errors import TechniqueError
from tfopt.keras_gate import tf_keras
from tfopt.measure.scores import score_of
from tfopt.report import Evaluation

if TYPE_CHECKING:
    from tfopt.task import Task

EVALUATIONS = 10
"""How often a training that may stop early looks at the validation data."""

_BATCH = 128


class Counter(tf_keras.callbacks.Callback):
    """Counts steps across epochs, several of them in a call into TensorFlow."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._seen = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras counts steps within an epoch."""
        self._seen = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the steps of a call."""
        self.steps += batch + 1 - self._seen
        self._seen = batch + 1


class StopAtNaN(tf_keras.callbacks.Callback):
    """Ends a training that can only go on producing NaN."""

    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self._learning_rate = learning_rate

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the loss after each call into TensorFlow."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise TechniqueError(
                received=f"a loss of {loss} by step {batch + 1} of an epoch of fine-tuning "
                f"{self.model.name!r}",
                expected="a finite loss",
                fix=f"lower learning_rate (it was {self._learning_rate:g}; try a tenth), and check "
                "that the loss fits the model's outputs and labels",
            )


class Progress(Counter):
    """Draws how many of the steps are done, on a terminal."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._bar = progress.bar(range(steps), "Fine-tuning", unit="step")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Moves the bar by as many steps as the call into TensorFlow made."""
        before = self.steps
        super().on_train_batch_end(batch, logs)
        for _ in range(self.steps - before):
            next(self._bar, None)


class Best(Counter):
    """Follows the metric on the validation data, keeps the best weights and stops when it can.

    Args:
        task: The validation data and the metric.
        steps: How many steps the training has.
        patience: How many evaluations without a better one end the training.
        settled: The share of the steps after which the technique is done changing the model. What
            comes before is no candidate: an unpruned model is always better than a pruned one.
    """

    def __init__(self, task: Task, steps: int, *, patience: int, settled: float) -> None:
        super().__init__()
        self.evaluations: list[Evaluation] = []
        self.best_step = 0
        self._task, self._patience = task, patience
        first = math.ceil(settled * steps)
        span = (steps - first) / EVALUATIONS
        self._due = sorted({first + math.ceil(span * i) for i in range(1, EVALUATIONS + 1)})
        self._validation: Validation | None = None
        self._best = -math.inf
        self._waited = 0
        self._weights: list[np.ndarray] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates when it is time: at the end of the call that reaches a step that is due."""
        super().on_train_batch_end(batch, logs)
        if not self._due or self.steps < self._due[0]:
            return
        self._due = [step for step in self._due if step > self.steps]
        if self._validation is None:
            self._validation = Validation(self.model, self._task)
        value = self._validation.measure()
        self.evaluations.append(Evaluation(self.steps, value))
        rank = value if self._validation.higher_is_better else -value
        if rank > self._best:
            self._best, self.best_step, self._waited = rank, self.steps, 0
            self._weights = self.model.get_weights()
            return
        self._waited += 1
        self.model.stop_training = self._waited >= self._patience

    def restore(self) -> None:
        """Gives the model the weights of the best evaluation."""
        if self._weights and self.best_step < self.steps:
            self.model.set_weights(self._weights)


class Clock(Counter):
    """Times the calls into TensorFlow, and stops when there are enough of them.

    Args:
        seconds: How long it may take.
    """

    _CALLS = 5

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = time.monotonic() + seconds
        self._ends: list[tuple[int, float]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Notes the time. The first call builds the graph, and is none of the speed."""
        super().on_train_batch_end(batch, logs)
        self._ends.append((self.steps, time.monotonic()))
        enough = len(self._ends) > self._CALLS or self._ends[-1][1] > self._end
        self.model.stop_training = len(self._ends) > 1 and enough

    def seconds_per_step(self) -> float:
        """How long a step takes, the graph being built."""
        (first, start), (last, end) = self._ends[0], self._ends[-1]
        return (end - start) / (last - first)


class Validation:
    """The task's metric on all validation samples, of a model that is being trained.

    Args:
        model: A tf_keras model.
        task: The validation data and the metric.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import dense_net
        >>> 0 <= Validation(dense_net(), tfopt.Task.digits()).measure() <= 1
        True
    """

    def __init__(self, model: tf_keras.Model, task: Task) -> None:
        self._task, self._names = task, model.output_names
        self.higher_is_better = self._score().higher_is_better
        # Not the model's own predict, which takes several batches in a call, as its training does.
        self._call = tf.function(lambda x: model(x, training=False), reduce_retracing=True)

    def _score(self) -> Any:
        return score_of(self._task.metric, self._task.loss, self._names)

    def measure(self) -> float:
        """Returns the metric now."""
        score = self._score()
        for x, y in self._task.validation.batches(_BATCH):
            inputs = tf.nest.map_structure(tf.convert_to_tensor, x)
            outputs = self._call(list(inputs) if isinstance(inputs, tuple) else inputs)
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            score.add(matched(y, self._names), [output.numpy() for output in outputs])
        return score.value()
