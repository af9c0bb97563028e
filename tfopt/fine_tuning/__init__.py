"""Techniques that change a model while it is trained a little longer."""

from tfopt.fine_tuning.budget import Budgeted, Usual
from tfopt.fine_tuning.technique import AnyModel, FineTuned, LoopWarning, Wrapped

__all__ = ["AnyModel", "Budgeted", "FineTuned", "LoopWarning", "Usual", "Wrapped"]
