"""How long is trained, in steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfopt.task import Task


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
