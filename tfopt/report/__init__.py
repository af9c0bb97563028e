"""What every step did to the model: records first, then the views of them."""

from tfopt.report.records import (
    Budget,
    Change,
    Difference,
    LayerSensitivity,
    Score,
    Step,
    Trial,
)
from tfopt.report.report import Report

__all__ = [
    "Budget",
    "Change",
    "Difference",
    "LayerSensitivity",
    "Report",
    "Score",
    "Step",
    "Trial",
]
