"""Weight clustering, then int8.

python recipes/03_clustering.py --dataset=mnist --clusters=16
"""

import common
from absl import flags

import tfopt

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Clusters: each layer keeps a few distinct weights, and the deflated file gets smaller."""
    del argv
    common.run([tfopt.WeightClustering(clusters=common.CLUSTERS.value, epochs=common.epochs())])


if __name__ == "__main__":
    common.start(main)
