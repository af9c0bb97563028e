"""Channel pruning, taught by the baseline, then int8: a smaller net, on most devices a faster one.

python recipes/09_channel_pruning.py --dataset=cifar10 --macs=0.5 --allocation=sensitivity
"""

import common
from absl import flags

import tfopt

MACS = flags.DEFINE_float("macs", 0.5, "Share of the operations to remove, 0 to 1.")
ALLOCATION = flags.DEFINE_enum(
    "allocation", "global", ("global", "uniform", "sensitivity"), "Which layers lose channels."
)

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Removes channels: operations and bytes fall, and on most devices latency."""
    del argv
    pruning = tfopt.ChannelPruning(
        macs=MACS.value, allocation=ALLOCATION.value, teacher="baseline", epochs=common.epochs()
    )
    common.run([pruning])


if __name__ == "__main__":
    common.start(main)
