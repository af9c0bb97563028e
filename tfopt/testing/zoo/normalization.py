"""Normalization in unusual places and of unusual kinds."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel
from tfopt.testing.zoo.vision import classes

_IMAGE = (12, 12, 3)


def norm_after_activation(keras: Any) -> Any:
    """Convolution, ReLU, then batch norm."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(image))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(x))
    return classes(keras, image, x)


def norm_first(keras: Any) -> Any:
    """Batch norm on the input itself."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, activation="relu")(layers.BatchNormalization()(image))
    return classes(keras, image, x)


def norm_behind_pooling(keras: Any) -> Any:
    """Batch norm behind pooling and behind an addition."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.BatchNormalization()(layers.MaxPooling2D()(x))
    y = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Add()([x, y])))
    return classes(keras, image, x)


def norm_without_scale(keras: Any) -> Any:
    """Batch norm without scale, and without offset."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(scale=False)(x))
    x = layers.Conv2D(8, 3)(x)
    x = layers.ReLU()(layers.BatchNormalization(center=False)(x))
    return classes(keras, image, x)


def dense_norm(keras: Any) -> Any:
    """Dense layers with batch norm before and after the activation."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(16, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(4, activation="softmax"),
        ]
    )


def group_normalization(keras: Any) -> Any:
    """GroupNormalization behind convolutions."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, 2, padding="same")(image)
    x = layers.ReLU()(layers.GroupNormalization(4)(x))
    return classes(keras, image, x)


def layer_normalization(keras: Any) -> Any:
    """LayerNormalization behind a dense layer."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(16),
            layers.LayerNormalization(),
            layers.ReLU(),
            layers.Dense(4, activation="softmax"),
        ]
    )


def unit_normalization(keras: Any) -> Any:
    """An embedding of length 1, as in face recognition."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, 2, activation="relu")(image)
    x = layers.Dense(8)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.UnitNormalization()(x))


MODELS = (
    *map(
        ZooModel,
        (
            norm_after_activation,
            norm_first,
            norm_behind_pooling,
            norm_without_scale,
            dense_norm,
            group_normalization,
            layer_normalization,
        ),
    ),
    ZooModel(unit_normalization, loss="mse"),
)
