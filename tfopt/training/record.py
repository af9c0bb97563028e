"""Collects what trainings did, for whoever wants to tell of it."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

from tfopt.report import Training

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
