"""Magnitude pruning on a polynomial schedule, then int8.

python recipes/02_pruning.py --dataset=mnist --sparsity=0.8
"""

import common
from absl import flags

import tfopt

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Prunes: the deflated file, as an app's package stores it, is what gets smaller."""
    del argv
    common.run([tfopt.MagnitudePruning(sparsity=common.SPARSITY.value, epochs=common.epochs())])


if __name__ == "__main__":
    common.start(main)
