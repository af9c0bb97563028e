"""What a training did, for whoever wants to tell of it."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The validation data in the middle of a training.

    Args:
        step: After how many steps.
        metric: The task's metric on all validation samples.
    """

    step: int
    metric: float


@dataclasses.dataclass(frozen=True)
class Training:
    """One call of `fine_tune`; `dataclasses.asdict` makes JSON values of it.

    Args:
        planned_steps: How many steps the learning rate was planned for.
        steps: How many were made: fewer after an early stop.
        seconds: How long that took, evaluations included.
        losses: The mean loss of each epoch, the last one perhaps a part of one.
        evaluations: The metric, where it was followed.
        best_step: The step whose weights were kept; the last one if nothing was followed.
    """

    planned_steps: int
    steps: int
    seconds: float
    losses: tuple[float, ...]
    evaluations: tuple[Evaluation, ...]
    best_step: int


_LISTENING: contextvars.ContextVar[tuple[list[Training], ...]] = contextvars.ContextVar(
    "listening", default=()
)


@contextlib.contextmanager
def recorded() -> Iterator[list[Training]]:
    """Collects what each `fine_tune` inside of it did, whoever calls it.

    A technique returns a model and nothing else: this is how a report learns the rest.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import dense_net
        >>> technique = tfopt.WeightClustering(clusters=4, epochs=0.5)
        >>> with recorded() as trainings:
        ...     model = technique.apply(dense_net(), tfopt.Task.digits())
        >>> [training.steps for training in trainings]
        [17]
    """
    trainings: list[Training] = []
    token = _LISTENING.set((*_LISTENING.get(), trainings))
    try:
        yield trainings
    finally:
        _LISTENING.reset(token)


def tell(training: Training) -> None:
    """Hands a training to all that listen."""
    for trainings in _LISTENING.get():
        trainings.append(training)
