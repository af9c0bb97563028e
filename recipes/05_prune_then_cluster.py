"""Pruning, then clustering that keeps the zeros (sparsity-preserving clustering), then int8.

python recipes/05_prune_then_cluster.py --dataset=mnist --sparsity=0.5 --clusters=16
"""

import common
from absl import flags

import tfopt

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Prunes and clusters; the clustering measures the sparsity and keeps it."""
    del argv
    common.run(
        [
            tfopt.MagnitudePruning(sparsity=common.SPARSITY.value, epochs=common.epochs()),
            tfopt.WeightClustering(clusters=common.CLUSTERS.value, epochs=common.epochs()),
        ]
    )


if __name__ == "__main__":
    common.start(main)
