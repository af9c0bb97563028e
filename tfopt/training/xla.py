"""Where XLA pays on a CPU."""

from __future__ import annotations

from tfopt.keras_gate import tf_keras

# Measured on 4 cores with TensorFlow 2.21, CPU time of a step against the same without XLA: stacks
# of Dense layers of 128, 256, 512 and 1024 units 0.80, 0.68, 0.70 and 0.65; of 32 units 1.7;
# ResNet-8 2.8 to 4.1 and a depthwise net far more, as XLA has no convolution like oneDNN's;
# an LSTM was not even compiled after two minutes.
_LAYERS = {"InputLayer", "Flatten", "Dense", "Activation", "ReLU", "Softmax", "Dropout"}
_WEIGHTS = 50_000
STEPS = 1_000
"""A training shorter than that does not win back the seconds that compiling takes."""


def pays(model: tf_keras.Model, steps: int) -> bool:
    """Returns whether XLA trains a model faster, by its layers alone.

    A trial by the clock would choose now this and now that, and XLA rounds differently: the same
    recipe would not give the same weights.

    Args:
        model: About to be trained.
        steps: For how many steps.

    Example:
        >>> layers = [tf_keras.Input((400,)), tf_keras.layers.Dense(400)]
        >>> pays(tf_keras.Sequential(layers), 5_000)
        True
    """
    changed = {"train_step", "compute_loss"} & set(vars(model))
    only_dense = all(type(layer).__name__ in _LAYERS for layer in model.layers)
    return only_dense and not changed and steps >= STEPS and model.count_params() >= _WEIGHTS
