"""`tfopt diff`: two results side by side."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from tfopt.flags import two_arguments

SUMMARY = "Shows two saved results side by side."
ARGUMENTS = "DIRECTORY_A DIRECTORY_B"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_string("html", None, "also write a page, to this file", flag_values=values)


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints the comparison."""
    directories = two_arguments(arguments, ARGUMENTS)

    from tfopt.files import write_file
    from tfopt.reporting.comparing import compare_results
    from tfopt.reporting.saved import read_result

    comparison = compare_results(*map(read_result, directories))
    print(comparison)
    if values.html:
        write_file(values.html, comparison.to_html())
        print(f"Wrote {values.html}")
    return 0
