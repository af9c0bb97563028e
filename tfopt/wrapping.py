"""What the techniques that fine-tune have in common: wrap a model for training, train, strip."""

from __future__ import annotations

import abc
import dataclasses
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from tfopt import facts, training
from tfopt.errors import SettingError
from tfopt.keras_gate import clone, tf_keras
from tfopt.technique import Technique

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.task import Task

AnyModel = str | os.PathLike[str] | Any
"""What `load_model` takes: a path, a Keras 3 model or a tf_keras model."""


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A model ready to be trained the technique's way, in a `fit` loop of the user's own.

    Args:
        model: A tf_keras model of its own: compile it and fit it.
        callbacks: What `fit` must be given as `callbacks`.
        strip: Returns the optimized model without anything the training needed, and proves that it
            holds what the technique claims (TechniqueError otherwise).
    """

    model: tf_keras.Model
    callbacks: list[tf_keras.callbacks.Callback]
    strip: Callable[[], tf_keras.Model]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuned(Technique, abc.ABC):
    """A technique that changes a model while it is trained a little longer.

    Args:
        epochs: Passes over the training data; fractions are allowed.
        learning_rate: Peak of the learning rate (Adam, warm-up, cosine).
        only: Names or class names of the layers to touch; None for all that can be.
        skip: Names or class names of layers to leave alone.
    """

    epochs: float = 1
    learning_rate: float = 1e-3
    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()

    calibration_samples: ClassVar[int] = 0
    """How many representative samples `wrap` needs."""

    def __post_init__(self) -> None:
        for field in ("epochs", "learning_rate"):
            value = getattr(self, field)
            if not _is_number(value) or value <= 0:
                raise SettingError(
                    received=f"{field}={value!r}",
                    expected="a number above 0",
                    fix="epochs may be a fraction: 0.5 trains on half of the data"
                    if field == "epochs"
                    else "1e-3 to 1e-5 are usual for fine-tuning",
                )
        for field in ("only", "skip"):
            value = getattr(self, field)
            if isinstance(value, list):
                object.__setattr__(self, field, tuple(value))
            elif not isinstance(value, tuple) and not (field == "only" and value is None):
                raise SettingError(
                    received=f"{field}={value!r}",
                    expected="a tuple of layer names or class names",
                    fix=f"write {field}=({value!r},)",
                )

    @abc.abstractmethod
    def wrap(
        self, model: AnyModel, *, steps_per_epoch: int, representative: Arrays | None = None
    ) -> Wrapped:
        """Returns a copy of a model ready to be trained with the technique.

        Args:
            model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
            steps_per_epoch: Training steps in an epoch of the loop to come; schedules are fitted
                to `epochs` times as many.
            representative: Inputs to calibrate with, where the technique needs them.

        Returns:
            The model to compile and fit, the callbacks to fit it with, and how to strip it.

        Raises:
            TechniqueError: The technique cannot work on this model.
        """

    def apply(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """Returns an optimized model; the one given is left as it was.

        Args:
            model: A tf_keras functional model.
            task: The data, loss and seed to fine-tune with.

        Raises:
            DataError: The data does not fit the model.
            TechniqueError: The technique cannot work on this model, training diverged, or the
                result does not hold what the technique claims.
        """
        if self.changes_nothing:
            return clone(model)
        count = self.calibration_samples
        wrapped = self.wrap(
            model,
            steps_per_epoch=training.steps_per_epoch(task),
            representative=task.representative_inputs(count) if count else None,
        )
        training.fine_tune(
            wrapped.model,
            task,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            callbacks=wrapped.callbacks,
        )
        return wrapped.strip()

    @property
    def changes_nothing(self) -> bool:
        """Whether the settings ask for no change, so that there is nothing to train for."""
        return False


def reason_without_kernel(layer: tf_keras.layers.Layer) -> str | None:
    """Says why a technique that works on kernels must leave a layer alone, None if it need not."""
    inner = facts.unwrapped(layer)
    kernels = facts.kernels(layer)
    if not type(inner).__module__.startswith("tf_keras."):
        return "a custom layer, of which tfopt does not know how it uses its weights"
    if not kernels:
        return "has no kernel"
    if not any(kernel.trainable for kernel in kernels.values()) or not inner.trainable_weights:
        return "frozen (trainable=False)"
    return None


def trainable_kernels(layer: tf_keras.layers.Layer) -> dict[str, Any]:
    """Returns the kernels of a layer that are not frozen, by the keys of `facts.kernels`."""
    trained = {id(weight) for weight in layer.trainable_weights}
    return {key: kernel for key, kernel in facts.kernels(layer).items() if id(kernel) in trained}


def after_each_step(model: tf_keras.Model, update: Callable[[], None]) -> None:
    """Makes `fit` run `update` in the graph after each optimizer step.

    The layers stay the user's own, so that masks, call arguments, shared layers and nested cells
    work as they did (a wrapper around each layer would have to hand all of that through), there is
    no callback to forget, and a checkpoint is an ordinary model.

    Args:
        model: The model to be trained; it keeps `update` until it is gone.
        update: Changes variables with TensorFlow operations; it is traced once.
    """
    plain_step = model.train_step

    def train_step(data: Any) -> dict[str, Any]:
        logs = plain_step(data)
        update()
        return logs

    model.train_step = train_step


def _is_number(value: Any) -> bool:
    """Whether a setting is a finite number and no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
