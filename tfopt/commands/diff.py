"""`tfopt diff`: two results side by side."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from tfopt.files import refuse_existing, write_file
from tfopt.flags import define_overwrite, two_arguments

SUMMARY = "Shows two saved results side by side."
ARGUMENTS = "DIRECTORY_A DIRECTORY_B"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_string("html", None, "also write a page, to this file", flag_values=values)
    define_overwrite(values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints the comparison."""
    directories = two_arguments(arguments, ARGUMENTS)
    if values.html:
        refuse_existing(values.html, overwrite=values.overwrite)

    from tfopt.reporting.comparing import compare_results
    from tfopt.reporting.saved import read_result

    comparison = compare_results(*map(read_result, directories))
    print(comparison)
    if values.html:
        write_file(values.html, comparison.to_html())
        print(f"Wrote {values.html}")
    return 0
