"""Layers as products of smaller ones, taught by the baseline, then int8.

python recipes/10_low_rank.py --dataset=cifar10 --macs=0.3
"""

import common
from absl import flags

import tfopt

MACS = flags.DEFINE_float("macs", 0.15, "Share of the operations to remove, 0 to 1.")

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Factorizes where it pays; the report says which layers stay as they are, and why."""
    del argv
    factorizing = tfopt.LowRank(
        macs=MACS.value, allocation="sensitivity", teacher="baseline", epochs=common.epochs()
    )
    common.run([factorizing])


if __name__ == "__main__":
    common.start(main)
