"""`tfopt ablate`: what each technique brings."""

from __future__ import annotations

import json
from collections.abc import Sequence

from absl import flags

from tfopt.commands import import_tensorflow
from tfopt.commands.steps import check_steps, define_steps, steps_from_flags
from tfopt.errors import SettingError
from tfopt.flags import one_argument, target_from_flags, task_from_flags

SUMMARY = "Measures each technique alone, then stacked."
ARGUMENTS = "MODEL"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    define_steps(values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints the report; 1 if the last stack breaks a budget."""
    model = one_argument(arguments, ARGUMENTS)
    check_steps(values)
    if not values.step:
        raise SettingError(
            received="no --step",
            expected="the techniques to measure",
            fix='pass --step="MagnitudePruning(sparsity=0.5)", once for each',
        )
    import_tensorflow()
    from tfopt.ablation import ablate
    from tfopt.training.strategies import is_chief

    techniques, target = steps_from_flags(values), target_from_flags(values)
    task = task_from_flags(values)
    report = ablate(model, techniques, task=task, target=target, cache=values.cache)
    if is_chief(task):
        print(json.dumps(report.to_dict(), indent=2) if values.json else report)
    return int(not report.kept)
