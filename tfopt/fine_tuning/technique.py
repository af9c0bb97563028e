"""What the techniques that fine-tune have in common: wrap a model for training, train, strip."""

from __future__ import annotations

import abc
import dataclasses
import os
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfopt import training
from tfopt.errors import SettingError
from tfopt.fine_tuning.budget import Budgeted
from tfopt.keras_gate import clone, tf_keras
from tfopt.settings import check_names
from tfopt.teaching import Teaching
from tfopt.technique import Selection
from tfopt.training.strategies import check_workers, scope
from tfopt.training.trial import MANY_STEPS, steps_within

if TYPE_CHECKING:
    from typing_extensions import Self

    from tfopt.data import Arrays
    from tfopt.task import Task

AnyModel = str | os.PathLike[str] | Any
"""What `load_model` takes: a path, a Keras 3 model or a tf_keras model."""


class LoopWarning(UserWarning):
    """A setting that a training loop of one's own does not see to, as `apply` would."""


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A model ready to be trained the technique's way, in a `fit` loop of the user's own.

    Args:
        model: A tf_keras model of its own: compile it and fit it.
        callbacks: What `fit` must be given as `callbacks`.
        strip: Returns the optimized model without anything the training needed, and proves that it
            holds what the technique claims (TechniqueError otherwise).
        selection: Which layers are touched, and why the others are not.
    """

    model: tf_keras.Model
    callbacks: list[tf_keras.callbacks.Callback]
    strip: Callable[[], tf_keras.Model]
    selection: Selection


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuned(Budgeted, abc.ABC):
    """A technique that changes a model while it is trained a little longer.

    Args:
        epochs: As `steps`, `seconds`, `learning_rate` and `early_stopping`: see `Budgeted`.
        only: Names or class names of the layers to touch; None for all that can be.
        skip: Names or class names of layers to leave alone.
        teacher: `"baseline"` trains on what the float baseline answers, too (in `apply` without
            `optimize`, the model given); None on the labels alone. Not what `wrap` returns, which
            warns: in a loop of your own, `tfopt.teaching.Teaching(teacher).teach(model)` does it.
    """

    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    teacher: str | None = None

    calibration_samples: ClassVar[int] = 0
    """How many representative samples `wrap` needs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_teacher()
        check_names(self, "only", "skip")

    def check_teacher(self) -> None:
        """Refuses a teacher that is neither the baseline nor none.

        Raises:
            SettingError: It is something else.
        """
        if self.teacher not in (None, "baseline"):
            raise SettingError(
                received=f"teacher={self.teacher!r}",
                expected='"baseline" or None',
                fix="to learn from another model use tfopt.Distillation(teacher=path)",
            )

    in_loops: ClassVar[dict[str, str]] = {
        "teacher": "call tfopt.teaching.Teaching(teacher).teach(wrapped.model)",
        "early_stopping": "pass fit a callback that stops",
        "seconds": "pass fit the epochs",
    }
    """Settings that `wrap` leaves to the loop, and how it sees to them."""

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
            SettingError: `steps_per_epoch` is no number of steps.
            TechniqueError: The technique cannot work on this model.
        """

    def check_loop(self, steps_per_epoch: int) -> None:
        """Begins each `wrap` that a user calls: warns of the settings that the loop has to see to.

        Args:
            steps_per_epoch: Of the loop to come.

        Raises:
            SettingError: It is no number of steps.
        """
        if (
            type(steps_per_epoch) is bool
            or not isinstance(steps_per_epoch, int | np.integer)
            or steps_per_epoch < 1
        ):
            raise SettingError(
                received=f"steps_per_epoch={steps_per_epoch!r}",
                expected="the number of batches in an epoch of the training to come",
                fix="pass len(train) of a batched dataset",
            )
        given = {name: getattr(self, name) for name in self.in_loops}
        left = {name: value for name, value in given.items() if value is not None}
        if left:
            settings = ", ".join(f"{name}={value!r}" for name, value in left.items())
            ways = "; ".join(f"{name}: {self.in_loops[name]}" for name in left)
            warnings.warn(
                f"{self.name}.wrap leaves {settings} to your training loop ({ways})",
                LoopWarning,
                stacklevel=3,
            )

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
        check_workers(task, seconds=self.seconds, early_stopping=self.early_stopping)
        if self.seconds is not None:
            return self._told(self.pinned(model, task)).apply(model, task)
        return self._trained(model, task)

    def pinned(self, model: tf_keras.Model, task: Task) -> Self:
        """Returns the technique with its `seconds` as `steps`; itself if it has none.

        A few steps are tried on a copy that is thrown away. What is returned trains the same
        weights again, on any day and however busy the machine is: it is what a recipe should keep.

        Args:
            model: A tf_keras functional model; it is left as it was.
            task: The data, loss and seed to fine-tune with.

        Raises:
            SettingError: There is not even time to begin, or several workers train together; or as
                `select` does.
            TechniqueError: As `select` does.
        """
        if self.seconds is None:
            return self
        self.select(model)  # refuses now what would be refused after the trial
        trial = dataclasses.replace(self, seconds=None, steps=MANY_STEPS)
        with scope(task):
            started = time.monotonic()
            own = trial._tried(model, task)
            steps = steps_within(
                own,
                task,
                seconds=self.seconds,
                spent=time.monotonic() - started,
                trainings=self.trainings,
                early_stopping=self.early_stopping,
            )
        return dataclasses.replace(self, seconds=None, steps=steps)

    def _trained(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """The model wrapped where the task's strategy wants its variables, trained, stripped."""
        with scope(task):
            wrapped = self._taught(model, task)
            self.train(wrapped.model, task, callbacks=wrapped.callbacks)
        return wrapped.strip()

    def _tried(self, model: tf_keras.Model, task: Task) -> tf_keras.Model:
        """The model whose training is timed, for a budget in seconds; no faster than the others."""
        return self._taught(model, task).model

    def _told(self, pinned: Self) -> Self:
        warnings.warn(
            f"seconds={self.seconds:g} are steps={pinned.steps} on this machine now: only with "
            "that setting the same weights come out again",
            stacklevel=3,
        )
        return pinned

    def _taught(self, model: tf_keras.Model, task: Task) -> Wrapped:
        """The wrapped model, with its teacher if it has one."""
        wrapped = self.wrap_for(model, task)
        self._teach(wrapped.model, model, task)
        return wrapped

    def _teach(self, student: tf_keras.Model, model: tf_keras.Model, task: Task) -> None:
        """Adds the teacher to the loss, if there is one: the baseline, or else the model given."""
        if self.teacher is not None:
            Teaching(model if task.teacher is None else task.teacher).teach(student)

    def wrap_for(self, model: tf_keras.Model, task: Task) -> Wrapped:
        """Returns what `wrap` does, with the steps and the samples of a task."""
        count = self.calibration_samples
        return self.wrap(
            model,
            steps_per_epoch=training.steps_per_epoch(task),
            representative=task.representative_inputs(count) if count else None,
        )

    @property
    def trainings(self) -> int:
        """How many trainings share the steps, each of a model that is made anew."""
        return 1

    @property
    def changes_nothing(self) -> bool:
        """Whether the settings ask for no change, so that there is nothing to train for."""
        return False
