"""Fewer channels, then fewer weights, then quantization-aware training, all taught by the baseline.

python recipes/12_structured_chain.py --dataset=cifar10 --macs=0.5 --sparsity=0.7 --sparse_encoding
"""

import common
from absl import flags

import tfopt

MACS = flags.DEFINE_float("macs", 0.5, "Share of the operations to remove, 0 to 1.")

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Stacks what makes a net faster and what makes its file smaller."""
    del argv
    epochs, teacher, sparsity = common.epochs(), "baseline", common.SPARSITY.value
    common.run(
        [
            tfopt.ChannelPruning(macs=MACS.value, epochs=epochs, teacher=teacher),
            tfopt.MagnitudePruning(
                sparsity=sparsity, allocation="sensitivity", epochs=epochs, teacher=teacher
            ),
            tfopt.QuantizationAware(epochs=epochs, teacher=teacher),
        ]
    )


if __name__ == "__main__":
    common.start(main)
