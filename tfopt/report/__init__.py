"""What every step did to the model: records first, then the views of them."""

from tfopt.report.figures import Group, LayerFigures, Mistake, Mistakes, OpTime, Profile
from tfopt.report.records import (
    Budget,
    Change,
    Difference,
    Evaluation,
    LayerSensitivity,
    OutputScore,
    Ratio,
    Score,
    Step,
    Training,
    Trial,
)
from tfopt.report.report import Report

__all__ = [
    "Budget",
    "Change",
    "Difference",
    "Evaluation",
    "Group",
    "LayerFigures",
    "LayerSensitivity",
    "Mistake",
    "Mistakes",
    "OpTime",
    "OutputScore",
    "Profile",
    "Ratio",
    "Report",
    "Score",
    "Step",
    "Training",
    "Trial",
]
