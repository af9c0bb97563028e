"""`tfopt optimize`: the main job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from tfopt.commands import import_tensorflow
from tfopt.commands.steps import check_steps, define_steps, steps_from_flags
from tfopt.errors import SettingError
from tfopt.files import refuse_existing
from tfopt.flags import (
    define_budgets,
    define_output,
    define_target,
    one_argument,
    output_from_flags,
    target_from_flags,
    task_from_flags,
)

if TYPE_CHECKING:
    from tfopt.target import Target
    from tfopt.technique import Technique

SUMMARY = "Makes a small .tflite, and a report of what each step did."
ARGUMENTS = "MODEL"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_string(
        "recipe", None, "recipe.json with steps, target and seed", flag_values=values
    )
    define_output(values, "directory of the result")
    define_steps(values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Optimizes, prints the report and saves the result; 1 if a budget is broken."""
    model = one_argument(arguments, ARGUMENTS)
    output = output_from_flags(values)
    refuse_existing(output, overwrite=values.overwrite)
    check_steps(values)
    import_tensorflow()
    techniques, target = _plan(values)
    task = task_from_flags(values)

    from tfopt.optimization import optimize
    from tfopt.training.strategies import is_chief

    result = optimize(model, techniques, task=task, target=target, cache=values.cache)
    if not is_chief(task):
        return int(not result.report.kept)
    # The report first: it took as long as the files, and saving can fail.
    print(json.dumps(result.report.to_dict(), indent=2) if values.json else result.report)
    result.save(output, overwrite=values.overwrite)
    if not values.json:
        print(f"Wrote {output}")
    return int(not result.report.kept)


def _plan(values: flags.FlagValues) -> tuple[list[Technique], Target]:
    """The steps and the target, of the flags or of a recipe."""
    from tfopt.recipe import Recipe

    if values.recipe is None:
        return steps_from_flags(values), target_from_flags(values)
    apart = flags.FlagValues()
    define_target(apart)
    define_budgets(apart)
    for name in ("step", "seed", *apart):
        if values[name].present:
            raise SettingError(
                received=f"--{name} and --recipe",
                expected="one of them: a recipe holds the steps, the target and the seed",
                fix=f"leave --{name} out, or change the recipe",
            )
    recipe = Recipe.load(values.recipe)
    values.seed = recipe.seed
    return list(recipe.techniques), recipe.target
