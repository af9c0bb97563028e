"""Pruning, then quantization-aware training that keeps the zeros (PQAT), then int8.

python recipes/06_prune_then_quantize.py --dataset=mnist --sparsity=0.8
"""

import common
from absl import flags

import tfopt

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Prunes and trains with fake quantization; the zeros are found by measuring, and kept."""
    del argv
    common.run(
        [
            tfopt.MagnitudePruning(sparsity=common.SPARSITY.value, epochs=common.epochs()),
            tfopt.QuantizationAware(epochs=common.epochs()),
        ]
    )


if __name__ == "__main__":
    common.start(main)
