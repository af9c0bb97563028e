"""Quantization-aware training, then int8.

python recipes/04_quantization_aware.py --dataset=mnist
"""

import common
from absl import flags

import tfopt

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Fine-tunes with fake quantization, so that the integer file loses less."""
    del argv
    common.run([tfopt.QuantizationAware(epochs=common.epochs())])


if __name__ == "__main__":
    common.start(main)
