"""How long a technique trains: in epochs, steps or seconds, and when it may stop early."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tfopt import training
from tfopt.errors import SettingError
from tfopt.settings import check_counts, check_positive
from tfopt.technique import Technique

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task


class Usual(float):
    """A number that is a setting's default: it can be told from an equal one that was given."""

    def __repr__(self) -> str:
        return f"{self:g}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budgeted(Technique, abc.ABC):
    """A technique that trains, for a time that one of its fields says.

    Args:
        epochs: Passes over the training data; fractions are allowed.
        steps: Batches to train on, instead of `epochs`.
        seconds: What training may take on this machine, instead of `epochs`, graph building and
            evaluations included: `pinned` finds out how many steps that is.
        learning_rate: Peak of the learning rate (Adam, warm-up, cosine).
        early_stopping: Ends the training when the metric on the validation data has not become
            better in so many of its ten evaluations, and keeps the best weights. None trains to
            the end, where the learning rate is zero, and keeps the last ones.

    Raises:
        SettingError: A setting is out of its range, or two say how long.
    """

    epochs: float = Usual(1)
    steps: int | None = None
    seconds: float | None = None
    learning_rate: float = 1e-3
    early_stopping: int | None = None

    settled: ClassVar[float] = 0.75
    """The share of the steps after which the technique has stopped changing the model, such as by
    pruning it further. Only from there on the best weights are looked for."""

    def __post_init__(self) -> None:
        check_positive(
            "epochs may be a fraction: 0.5 trains on half of the data", epochs=self.epochs
        )
        check_positive("1e-3 to 1e-5 are usual for fine-tuning", learning_rate=self.learning_rate)
        if self.seconds is not None:
            fix = "use seconds=60 or more, or leave it out for a number of epochs"
            check_positive(fix, seconds=self.seconds)
        for field in ("steps", "early_stopping"):
            if getattr(self, field) is not None:
                check_counts(self, **{field: 1})
        self._check_one_budget()

    def _check_one_budget(self) -> None:
        given = [name for name in ("steps", "seconds") if getattr(self, name) is not None]
        usual = self._default("epochs")  # in a technique of another package maybe a plain number
        if given and (type(self.epochs), self.epochs) != (type(usual), usual):
            given.insert(0, "epochs")
        if len(given) > 1:
            raise SettingError(
                received=" and ".join(f"{name}={getattr(self, name)!r}" for name in given),
                expected="one of epochs, steps and seconds",
                fix=f"keep one, such as {given[0]}={getattr(self, given[0])!r}",
            )

    def _default(self, name: str) -> Any:
        return next(field.default for field in dataclasses.fields(self) if field.name == name)

    @property
    def settings(self) -> str:
        """The headline and what is not a default; of the budget, what counts."""
        shown = super().settings
        if self.steps is None and self.seconds is None:
            return shown
        return ", ".join(part for part in shown.split(", ") if not part.startswith("epochs="))

    def steps_in(self, steps_per_epoch: int) -> int:
        """Returns how many steps the technique trains.

        Args:
            steps_per_epoch: Batches in the training data.

        Raises:
            SettingError: The budget is in seconds, which are no steps before they are measured.
        """
        if self.seconds is not None:
            raise SettingError(
                received=f"seconds={self.seconds:g}, where steps have to be known",
                expected="epochs or steps",
                fix="use apply or tfopt.optimize, which measure how fast the model is trained",
            )
        if self.steps is not None:
            return self.steps
        return training.total_steps(self.epochs, steps_per_epoch)

    def train(
        self,
        model: tf_keras.Model,
        task: Task,
        *,
        part: tuple[int, int] = (0, 1),
        callbacks: Sequence[Any] = (),
    ) -> None:
        """Trains a model in place as the technique's settings say.

        Args:
            model: A tf_keras model, possibly wrapped for training.
            task: The data, the loss and the seed.
            part: Which of how many parts of the steps, counted from 0, for a technique that
                trains several times. The parts add up to the steps.
            callbacks: Keras callbacks.
        """
        steps, (place, parts) = self.steps_in(training.steps_per_epoch(task)), part
        training.fine_tune(
            model,
            task,
            steps=steps * (place + 1) // parts - steps * place // parts,
            learning_rate=self.learning_rate,
            callbacks=callbacks,
            early_stopping=self.early_stopping,
            settled=self.settled,
        )
