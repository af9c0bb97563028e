"""What is done to a model's variables after each step of its training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tfopt.keras_gate import tf_keras
from tfopt.training.strategies import on_all_replicas


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

    @functools.wraps(plain_step)
    def train_step(data: Any) -> dict[str, Any]:
        logs = plain_step(data)
        on_all_replicas(update)
        return logs

    model.train_step = train_step
