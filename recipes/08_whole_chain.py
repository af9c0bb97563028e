"""The whole chain: prune, cluster, train with fake quantization (PCQAT), convert to int8.

python recipes/08_whole_chain.py --dataset=mnist --sparsity=0.5 --clusters=16
"""

import common
from absl import flags

import tfopt

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Each step keeps what the ones before it gained, and the report shows what each one bought."""
    del argv
    common.run(
        [
            tfopt.MagnitudePruning(sparsity=common.SPARSITY.value, epochs=common.epochs()),
            tfopt.WeightClustering(clusters=common.CLUSTERS.value, epochs=common.epochs()),
            tfopt.QuantizationAware(epochs=common.epochs()),
        ]
    )


if __name__ == "__main__":
    common.start(main)
