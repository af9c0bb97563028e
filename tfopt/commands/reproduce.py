"""`tfopt reproduce`: whether a result comes out the same again."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from tfopt.commands import import_tensorflow
from tfopt.flags import one_argument

SUMMARY = "Makes a saved result again and compares the files byte for byte."
ARGUMENTS = "DIRECTORY"


def define(values: flags.FlagValues) -> None:
    """Defines the flags."""
    flags.DEFINE_string(
        "data_dir", None, "where the TFDS set, or the image folder, is", flag_values=values
    )


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Prints what came out; 1 if it differs."""
    directory = one_argument(arguments, ARGUMENTS)

    import_tensorflow()
    from tfopt.reproduction import reproduce

    reproduction = reproduce(directory, data_dir=values.data_dir)
    print(f"{directory}: {reproduction.message}")
    return int(not reproduction.same)
