"""Tables of numbers: regression and classification."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel


def regression(keras: Any) -> Any:
    """Dense layers and one real output."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(16, activation="relu"),
            layers.Dense(16, activation="relu"),
            layers.Dense(1),
        ]
    )


def logits(keras: Any) -> Any:
    """A binary classifier without its sigmoid, with regularizers."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(16, activation="relu", kernel_regularizer="l2"),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )


def wide_and_deep(keras: Any) -> Any:
    """A linear part beside a deep one."""
    layers = keras.layers
    numbers = keras.Input((10,))
    deep = layers.Dense(8, activation="relu")(layers.Dense(16, activation="relu")(numbers))
    merged = layers.Concatenate()([numbers, deep])
    return keras.Model(numbers, layers.Dense(1, activation="sigmoid")(merged))


MODELS = (
    ZooModel(regression, loss="mse"),
    ZooModel(logits, loss="mse"),
    ZooModel(wide_and_deep, loss="binary_crossentropy"),
)
