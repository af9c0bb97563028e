"""Fine-tuning: the one place that calls `fit`, the same for every technique."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from tfopt import progress
from tfopt.data import ArraySplit
from tfopt.errors import DataError, TechniqueError, TfoptError
from tfopt.keras_gate import tf_keras

if TYPE_CHECKING:
    from tfopt.task import Task

# Several steps in one call into TensorFlow: on a small model Python costs more than the training.
_STEPS_PER_CALL = 16
_WARM_UP = 0.1
_STREAM_SHUFFLE = 10_000
# A moving average forgets what it started from in about five of its time constants.
_TIME_CONSTANTS = 5


def steps_per_epoch(task: Task) -> int:
    """Returns the number of batches in the training data, the last one possibly short.

    Example:
        >>> import numpy as np
        >>> from tfopt.task import Task
        >>> data = (np.zeros((100, 4)), np.zeros(100))
        >>> steps_per_epoch(Task.from_arrays(data, data, loss="mse", batch_size=32))
        4
    """
    return math.ceil(task.train.size / task.batch_size)


def total_steps(epochs: float, per_epoch: int) -> int:
    """Returns the training steps in so many epochs, at least one.

    Example:
        >>> total_steps(0.5, 7), total_steps(0.01, 7)
        (4, 1)
    """
    return max(1, round(epochs * per_epoch))


def fine_tune(
    model: tf_keras.Model,
    task: Task,
    *,
    epochs: float,
    learning_rate: float,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> tf_keras.callbacks.History:
    """Trains a model in place on the task's training data, the same way each time.

    Adam with a learning rate that rises over the first tenth of the steps and falls to zero along
    a cosine. The task's seed is set for everything random in the process, so that the same model,
    task and settings give the same weights on the same machine.

    Args:
        model: A tf_keras model, possibly wrapped for training. It is compiled here.
        task: Training data, loss, batch size and seed. Only the training split is read.
        epochs: Passes over the training data; a fraction trains that share of the steps.
        learning_rate: The peak of the learning rate.
        callbacks: Keras callbacks. With any, each step is a call of its own, which is slower on
            small models.

    Returns:
        The loss of each epoch, as Keras' `fit` gives it.

    Raises:
        DataError: The data does not fit the model or the loss.
        TechniqueError: The loss became NaN or infinite.

    Example:
        >>> import numpy as np
        >>> from tfopt.task import Task
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(4,))])
        >>> data = (np.ones((100, 4), "float32"), np.ones((100, 1), "float32"))
        >>> task = Task.from_arrays(data, data, loss="mse")
        >>> history = fine_tune(model, task, epochs=1.5, learning_rate=0.01)
        >>> len(history.history["loss"])
        2

    References:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017,
        equation 5 (the cosine, without restarts).
    """
    task.check_training(model)
    tf_keras.utils.set_random_seed(task.seed)
    per_epoch = steps_per_epoch(task)
    steps = total_steps(epochs, per_epoch)
    model.compile(
        optimizer=tf_keras.optimizers.Adam(_schedule(steps, learning_rate)),
        loss=task.loss,
        steps_per_execution=1 if callbacks else min(_STEPS_PER_CALL, steps),
    )
    dataset = _dataset(task)
    watchers = [*callbacks, _StopAtNaN(learning_rate), _Progress(steps)]
    whole, rest = divmod(steps, per_epoch)
    losses: list[float] = []
    with _statistics_within(model, steps):
        for first, last, length in ((0, whole, per_epoch), (whole, whole + bool(rest), rest)):
            if first < last:
                history = _fit(model, dataset, range(first, last), length, watchers)
                losses += history.history["loss"]
    history.history["loss"] = losses
    return history


def _fit(
    model: tf_keras.Model,
    dataset: tf.data.Dataset,
    epochs: range,
    steps: int,
    callbacks: list[tf_keras.callbacks.Callback],
) -> tf_keras.callbacks.History:
    """Calls `fit`, and says in words what a trace out of the graph would."""
    try:
        return model.fit(
            dataset,
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            steps_per_epoch=steps,
            callbacks=callbacks,
            verbose=0,
        )
    except TfoptError:
        raise
    except (tf.errors.InvalidArgumentError, ValueError) as error:
        raise DataError(
            received=f"training data that model {model.name!r} cannot be trained on "
            f"({_reason(error)})",
            expected=f"inputs of shape {model.input_shape}, and labels that fit outputs of shape "
            f"{model.output_shape} and the loss",
            fix="check the labels' shape and range, and that the loss is the one the model was "
            "trained with",
        ) from error


@contextlib.contextmanager
def _statistics_within(model: tf_keras.Model, steps: int) -> Iterator[None]:
    """Lets the moving averages of batch norm settle in a short run.

    With Keras' momentum of 0.99 they need some 500 steps to forget the statistics of a model that
    a technique has just changed; a model trained for less would be run with stale ones.
    """
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, tf_keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in layers]
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = min(momentum, max(0.0, 1 - _TIME_CONSTANTS / steps))
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _schedule(
    steps: int, learning_rate: float
) -> tf_keras.optimizers.schedules.LearningRateSchedule:
    """A short linear rise to the learning rate, then a cosine down to zero at the last step."""
    warm_up = round(_WARM_UP * steps)
    if not warm_up:
        return tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    return tf_keras.optimizers.schedules.CosineDecay(
        learning_rate / (warm_up + 1),
        decay_steps=steps - warm_up,
        warmup_target=learning_rate,
        warmup_steps=warm_up,
    )


def _dataset(task: Task) -> tf.data.Dataset:
    """Endless shuffled batches, in the same order for the same seed.

    Arrays are shuffled by position and gathered a batch at a time, which is several times faster
    than shuffling the samples themselves.
    """
    split = task.train
    if isinstance(split, ArraySplit):
        arrays = tf.nest.map_structure(tf.convert_to_tensor, (split.x, split.y))
        positions = tf.data.Dataset.range(split.size).shuffle(split.size, seed=task.seed)
        dataset = positions.batch(task.batch_size).map(
            lambda index: tf.nest.map_structure(lambda array: tf.gather(array, index), arrays),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    else:
        stream = split.dataset.shuffle(min(split.size, _STREAM_SHUFFLE), seed=task.seed)  # type: ignore[attr-defined]
        dataset = stream.batch(task.batch_size)
    augment = task.augment
    if augment is not None:
        # one batch after another: random numbers drawn side by side come in no fixed order
        dataset = dataset.map(lambda x, y: (augment(x), y))
    return dataset.repeat().prefetch(tf.data.AUTOTUNE)


def _reason(error: Exception) -> str:
    """The line of a TensorFlow trace that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Received a label" in line or "Error: " in line]
    return (told or lines or [type(error).__name__])[-1][:300].rstrip(". ")


class _StopAtNaN(tf_keras.callbacks.Callback):
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


class _Progress(tf_keras.callbacks.Callback):
    """Draws how many of the steps are done, on a terminal."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._bar = progress.bar(range(steps), "Fine-tuning", unit="step")
        self._seen = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Steps are counted within an epoch."""
        self._seen = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Moves the bar by as many steps as the call into TensorFlow made."""
        for _ in range(batch + 1 - self._seen):
            next(self._bar, None)
        self._seen = batch + 1
