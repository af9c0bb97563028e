"""Volumes and films in three dimensions."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel

_VOLUME = (6, 8, 8, 1)


def conv3d(keras: Any) -> Any:
    """Convolutions in three dimensions, with batch norm and a stride."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(_VOLUME),
            layers.Conv3D(4, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def pooling3d(keras: Any) -> Any:
    """Max and average pooling in three dimensions."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(_VOLUME),
            layers.Conv3D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling3D(),
            layers.Conv3D(4, 3, padding="same", activation="relu"),
            layers.AveragePooling3D((3, 2, 2)),
            layers.GlobalAveragePooling3D(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def factorised_film(keras: Any) -> Any:
    """Convolutions over space, then over time, as in R(2+1)D."""
    layers = keras.layers
    film = keras.Input(_VOLUME)
    x = layers.Conv3D(4, (1, 3, 3), padding="same", activation="relu")(film)
    x = layers.Conv3D(4, (3, 1, 1), padding="same", activation="relu")(x)
    return keras.Model(film, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))


MODELS = tuple(map(ZooModel, (conv3d, pooling3d, factorised_film)))
