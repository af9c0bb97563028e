"""`tfopt sensitivity`: what pruning, cutting, factorizing or rounding each layer would cost."""

from __future__ import annotations

import json
from collections.abc import Sequence

from absl import flags

from tfopt.commands import import_tensorflow, refuse_no_dataset
from tfopt.errors import SettingError
from tfopt.files import refuse_existing, write_file
from tfopt.flags import (
    define_data,
    define_metric,
    define_overwrite,
    one_argument,
    task_from_flags,
)

SUMMARY = "Measures what a technique costs, done to one layer at a time."
ARGUMENTS = "MODEL"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_string(
        "step",
        "MagnitudePruning()",
        'or "ChannelPruning(macs=0.5)", "LowRank(macs=0.5)", "RoundWeights()"',
        flag_values=values,
    )
    flags.DEFINE_list("strengths", [], "shares of a layer: --strengths=0.5,0.9", flag_values=values)
    flags.DEFINE_integer(
        "samples", 2000, "validation samples to measure on", lower_bound=1, flag_values=values
    )
    flags.DEFINE_string("cache", None, "directory that keeps what is measured", flag_values=values)
    flags.DEFINE_string("svg", None, "draw into this file", flag_values=values)
    define_overwrite(values)
    flags.DEFINE_bool("json", False, "print as JSON", flag_values=values)
    define_data(values)
    define_metric(values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints the metric of each layer at each strength."""
    model = one_argument(arguments, ARGUMENTS)
    refuse_no_dataset(values)
    strengths = _strengths(values.strengths)
    if values.svg is not None:
        refuse_existing(values.svg, overwrite=values.overwrite)
    import_tensorflow()

    from tfopt.recipe import parse_technique
    from tfopt.sensitivity.drawing import to_svg
    from tfopt.sensitivity.measure import STRENGTHS, measure_sensitivity

    measured = measure_sensitivity(
        model,
        parse_technique(values.step),
        task=task_from_flags(values),
        strengths=strengths or STRENGTHS,
        samples=values.samples,
        cache=values.cache,
    )
    if values.svg is not None:
        write_file(values.svg, to_svg(measured))
    print(json.dumps(measured.to_dict(), indent=2) if values.json else measured)
    return 0


def _strengths(texts: Sequence[str]) -> tuple[float, ...]:
    try:
        return tuple(map(float, texts))
    except ValueError as error:
        raise SettingError(
            received=f"--strengths={','.join(texts)}",
            expected="numbers above 0 and at most 1, rising",
            fix="write --strengths=0.5,0.9",
        ) from error
