"""Fine-tuning: the one place that calls `fit`, the same for every technique."""

from tfopt.training.budget import steps_per_epoch, total_steps
from tfopt.training.fitting import fine_tune
from tfopt.training.record import recorded

__all__ = [
    "fine_tune",
    "recorded",
    "steps_per_epoch",
    "total_steps",
]
