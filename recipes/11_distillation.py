"""Distillation: the baseline teaches another, smaller net, then int8.

python recipes/11_distillation.py --dataset=cifar10 --student=small.keras --temperature=4
"""

import common
from absl import flags

import tfopt

STUDENT = flags.DEFINE_string(
    "student", None, "Path of the Keras model that learns; without it the baseline learns on."
)
TEMPERATURE = flags.DEFINE_float("temperature", 4.0, "Softens the teacher's answers.")

flags.adopt_module_key_flags(common)


def main(argv: list[str]) -> None:
    """Trains the student on the labels and on what the teacher answers."""
    del argv
    distilling = tfopt.Distillation(
        student=STUDENT.value, temperature=TEMPERATURE.value, epochs=common.epochs()
    )
    common.run([distilling])


if __name__ == "__main__":
    common.start(main)
