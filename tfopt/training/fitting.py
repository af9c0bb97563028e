"""Calls `fit`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from tfopt import facts
from tfopt.errors import SettingError, TechniqueError
from tfopt.keras_gate import clone, tf_keras
from tfopt.report import Training
from tfopt.teaching import teaching_of
from tfopt.training import strategies, xla
from tfopt.training.adam import in_one_op
from tfopt.training.budget import steps_per_epoch, total_steps
from tfopt.training.callbacks import (
    Best,
    Counter,
    Progress,
    StopAtNaN,
)
from tfopt.training.failures import of_training
from tfopt.training.pipeline import batches
from tfopt.training.record import tell
from tfopt.training.tracing import traced_once

if TYPE_CHECKING:
    from tfopt.task import Task

# Several steps in one call into TensorFlow: on a small model Python costs more than the training.
_STEPS_PER_CALL = 16
_WARM_UP = 0.1
# A moving average forgets what it started from in about five of its time constants.
_TIME_CONSTANTS = 5


def fine_tune(
    model: tf_keras.Model,
    task: Task,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    learning_rate: float,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    early_stopping: int | None = None,
    settled: float = 0.0,
) -> tf_keras.callbacks.History:
    """Trains a model in place on the task's training data, the same way each time.

    Adam with a learning rate that rises over the first tenth of the steps and falls to zero along
    a cosine. The task's seed is set for everything random in the process, so that the same model,
    task and settings give the same weights on the same machine.

    Args:
        model: A tf_keras model, possibly wrapped for training. It is compiled here, with Adam of
            tf_keras.
        task: Training data, loss, batch size, seed and strategy. Of the other splits only
            validation is read, and only with `early_stopping`.
        epochs: Passes over the training data; a fraction trains that share of the steps.
        steps: Batches to train on; exactly one of the two is given.
        learning_rate: The peak of the learning rate.
        callbacks: Keras callbacks. With one that looks at batches, each step is a call of its own,
            which is slower on small models.
        early_stopping: Ends the training when the metric on the validation data has not become
            better in so many of its ten evaluations, and keeps the best weights. None trains to
            the end, where the learning rate is zero, and keeps the last ones.
        settled: The share of the steps before the first evaluation.

    Returns:
        The loss of each epoch, as Keras' `fit` gives it.

    Raises:
        DataError: The data does not fit the model or the loss, or cannot be read.
        SettingError: Not exactly one of epochs and steps is given; the task's strategy cannot be
            had, or does not go with the settings; its augmentation or a loss of the user's own
            fails; or a batch does not fit into memory.
        TechniqueError: The loss became NaN or infinite, or a weight did.

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
        equation 5 (the cosine, without restarts). Prechelt, Early Stopping - But When?, 1998
        (patience).
    """
    steps = _steps_of(task, epochs, steps)
    task.check_training(model)
    strategy = strategies.strategy_of(task)
    strategies.check_workers(task, early_stopping=early_stopping)
    best = None
    if early_stopping is not None:
        best = Best(task, steps, patience=early_stopping, settled=settled)
    watchers = [*callbacks, StopAtNaN(learning_rate), Progress(steps), *([best] if best else [])]
    one_by_one = any(each._implements_train_batch_hooks() for each in callbacks)
    start = time.monotonic()
    with trained_in(strategy, model) as own:
        compile_seeded(own, task, steps, learning_rate, one_by_one=one_by_one)
        history, done = fit_steps(own, task, steps, watchers)
        if best is not None:
            best.restore()
        _check_numbers(own, learning_rate)
    tell(
        Training(
            planned_steps=steps,
            steps=done,
            seconds=time.monotonic() - start,
            losses=tuple(map(float, history.history["loss"])),
            evaluations=tuple(best.evaluations) if best is not None else (),
            best_step=best.best_step if best is not None else done,
        )
    )
    return history


def _check_numbers(model: tf_keras.Model, learning_rate: float) -> None:
    """Refuses NaN that the loss has not told of: ReLU and rounding make a number of it."""
    broken = facts.broken_weights(model)
    if broken is not None:
        raise TechniqueError(
            received=f"{broken} after fine-tuning {model.name!r}, whose loss stayed a number",
            expected="weights that are numbers",
            fix=f"lower learning_rate (it was {learning_rate:g}; try a tenth); where a layer "
            "divides by what may become zero, if only by rounding, add a larger epsilon to it",
        )


def _steps_of(task: Task, epochs: float | None, steps: int | None) -> int:
    """How many steps a training has, of which one of the two tells."""
    if steps is not None and epochs is None:
        return steps
    if epochs is not None and steps is None:
        return total_steps(epochs, steps_per_epoch(task))
    raise SettingError(
        received=f"epochs={epochs} and steps={steps}",
        expected="exactly one of the two",
        fix="use epochs=1, or a number of steps",
    )


@contextlib.contextmanager
def trained_in(
    strategy: tf.distribute.Strategy | None, model: tf_keras.Model
) -> Iterator[tf_keras.Model]:
    """Gives a model in the scope of a strategy: itself, or a copy that hands its weights back.

    Args:
        strategy: None for a single device.
        model: About to be trained.

    Raises:
        TechniqueError: It was wrapped for training outside of the strategy's scope.
    """
    if strategy is None:
        yield model
        return
    with strategy.scope():
        if strategies.made_in(model, strategy):
            yield model
            return
        teaching = teaching_of(model)
        if "train_step" in vars(model) or ("compute_loss" in vars(model) and not teaching):
            raise TechniqueError(
                received=f"model {model.name!r}, wrapped for training outside of the strategy's "
                "scope",
                expected="one that is wrapped inside, so that masks and clusters are on all "
                "devices",
                fix="use the technique's apply, or wrap it in tfopt.training.strategies.scope",
            )
        own = clone(model)
        if teaching is not None:
            teaching.teach(own)
        yield own
    model.set_weights(own.get_weights())


def compile_seeded(
    model: tf_keras.Model, task: Task, steps: int, learning_rate: float, *, one_by_one: bool
) -> None:
    """Seeds everything random, and compiles with a fresh optimizer.

    Args:
        model: About to be trained.
        task: The loss and the seed.
        steps: How long it is trained.
        learning_rate: The peak of the learning rate.
        one_by_one: Whether each step is a call into TensorFlow.
    """
    tf_keras.utils.set_random_seed(task.seed)
    alone = task.strategy is None
    # XLA, which tf_keras asks for on a GPU, would rule out the step in one op
    model.compile(
        optimizer=tf_keras.optimizers.Adam(_schedule(steps, learning_rate), jit_compile=False),
        loss=task.loss,
        steps_per_execution=1 if one_by_one else min(_STEPS_PER_CALL, steps),
        jit_compile=True if alone and not one_by_one and xla.pays(model, steps) else None,
    )


def fit_steps(
    model: tf_keras.Model,
    task: Task,
    steps: int,
    watchers: list[tf_keras.callbacks.Callback],
) -> tuple[tf_keras.callbacks.History, int]:
    """Trains whole epochs and what is left over.

    Args:
        model: A compiled model.
        task: What to train on.
        steps: How many there are, unless a watcher stops the training.
        watchers: Keras callbacks.

    Returns:
        The losses, and the steps made.
    """
    dataset = batches(task, shared=task.strategy is not None)
    counter = Counter()
    traced = traced_once(model) if task.strategy is None else contextlib.nullcontext()
    per_epoch = steps_per_epoch(task)
    whole, rest = divmod(steps, per_epoch)
    losses: list[float] = []
    fused = in_one_op(model.optimizer)
    with of_training(model, task), _statistics_within(model, steps), traced, fused:
        for first, last, length in ((0, whole, per_epoch), (whole, whole + bool(rest), rest)):
            if first < last and not (losses and model.stop_training):
                # read ahead no further: the next iterator goes on where this one has ended
                ahead = dataset.take((last - first) * length).prefetch(tf.data.AUTOTUNE)
                history = model.fit(
                    ahead,
                    initial_epoch=first,
                    epochs=last,
                    steps_per_epoch=length,
                    callbacks=[*watchers, counter],
                    verbose=0,
                )
                losses += history.history["loss"]
    history.history["loss"] = losses
    return history, counter.steps


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
