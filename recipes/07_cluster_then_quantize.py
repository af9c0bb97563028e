"""Clustering, then quantization-aware training that keeps the clusters (CQAT), then int8.

python recipes/07_cluster_then_quantize.py --dataset=mnist --clusters=16
"""

import common
from absl import flags

import tfopt

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Clusters and trains with fake quantization; the clusters are found by measuring, and kept."""
    del argv
    common.run(
        [
            tfopt.WeightClustering(clusters=common.CLUSTERS.value, epochs=common.epochs()),
            tfopt.QuantizationAware(epochs=common.epochs()),
        ]
    )


if __name__ == "__main__":
    common.start(main)
