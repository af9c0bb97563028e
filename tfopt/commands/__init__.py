"""The commands of `tfopt`, one module each; they import what is slow when they run."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

from absl import flags

from tfopt.errors import SettingError
from tfopt.tflite.quiet import captured

NAMES = (
    "optimize",
    "ablate",
    "convert",
    "evaluate",
    "compare",
    "sensitivity",
    "benchmark",
    "profile",
    "inspect",
    "reproduce",
    "report",
    "diff",
    "ship",
)


class Command(Protocol):
    """What the module of a command holds."""

    SUMMARY: str
    ARGUMENTS: str

    def define(self, values: flags.FlagValues) -> None:
        """Defines the command's flags."""

    def run(self, values: flags.FlagValues, arguments: Sequence[str]) -> int:
        """Does what the command says; returns the exit code."""


def command(name: str) -> Command:
    """Returns the command of a name out of `NAMES`.

    Example:
        >>> command("inspect").ARGUMENTS
        'FILE.tflite'
    """
    return cast(Command, importlib.import_module(f"tfopt.commands.{name}"))


def refuse_no_dataset(values: flags.FlagValues) -> None:
    """Refuses a command line that names no data, before anything slow is imported.

    Raises:
        SettingError: `--dataset` is missing.
    """
    if values.dataset is None:
        raise SettingError(
            received="no --dataset",
            expected="the data the model is for",
            fix="pass --dataset=digits, a TFDS name such as mnist, or a folder of images",
        )


def import_tensorflow() -> None:
    """Imports TensorFlow without the notes on CPUs and GPUs it prints on every start."""
    with captured():
        import tensorflow as tf

        tf.config.get_visible_devices()  # looks for GPUs, and tells
