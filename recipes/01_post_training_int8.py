"""Full-integer int8 without training: conversion with a representative dataset.

python recipes/01_post_training_int8.py --dataset=mnist
"""

import common
from absl import flags

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Converts the baseline, and measures it before and after."""
    del argv
    common.run([])


if __name__ == "__main__":
    common.start(main)
