"""What a model is for: its data, loss and metric."""

from tfopt.task.base import Metric, SplitName
from tfopt.task.task import Task

__all__ = ["Metric", "SplitName", "Task"]
