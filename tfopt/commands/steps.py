"""The techniques, target and data on the command line of whatever applies techniques."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from tfopt.commands import refuse_no_dataset
from tfopt.flags import (
    define_budgets,
    define_data,
    define_metric,
    define_target,
    define_training,
    target_from_flags,
)

if TYPE_CHECKING:
    from tfopt.technique import Technique


def define_steps(values: flags.FlagValues) -> None:
    """Defines `--step`, and the flags of the data and the target."""
    flags.DEFINE_multi_string(
        "step", [], 'such as "MagnitudePruning(sparsity=0.5)"; repeatable', flag_values=values
    )
    flags.DEFINE_string(
        "cache",
        None,
        "directory that keeps each step: what is there is not made again",
        flag_values=values,
    )
    flags.DEFINE_bool("json", False, "print the report as JSON", flag_values=values)
    define_data(values)
    define_metric(values)
    define_training(values)
    define_target(values)
    define_budgets(values)


def check_steps(values: flags.FlagValues) -> None:
    """Refuses what needs no TensorFlow to be known as wrong: importing it takes seconds.

    Raises:
        SettingError: No data is named, or there is no such metric, target or technique.
    """
    from tfopt.measure.checks import check_metric
    from tfopt.recipe import TECHNIQUES, parse_technique

    refuse_no_dataset(values)
    check_metric(values.metric)
    target_from_flags(values)
    for text in values.step:
        if text.partition("(")[0].strip() not in TECHNIQUES:
            parse_technique(text)  # which says what is wrong


def steps_from_flags(values: flags.FlagValues) -> list[Technique]:
    """Returns the techniques that `--step` names, in order."""
    from tfopt.recipe import parse_technique

    return [parse_technique(text) for text in values.step]
