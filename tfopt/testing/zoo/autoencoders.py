"""Autoencoders: the input back, through a bottleneck."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel


def dense_autoencoder(keras: Any) -> Any:
    """Dense layers with batch norm, as for anomaly detection in MLPerf Tiny."""
    layers = keras.layers
    frame = keras.Input((40,))
    x = frame
    for units in (16, 4, 16):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(units)(x)))
    return keras.Model(frame, layers.Dense(40)(x))


def conv_autoencoder(keras: Any) -> Any:
    """Strided convolutions down, transposed ones up."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(8, 3, 2, padding="same", activation="relu"),
            layers.Conv2D(4, 3, 2, padding="same", activation="relu"),
            layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )


def bottleneck_autoencoder(keras: Any) -> Any:
    """Flattened into a code and reshaped back, an encoder and a decoder model nested."""
    layers = keras.layers
    encoder = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, 2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(6, name="code"),
        ],
        name="encoder",
    )
    decoder = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(64, activation="relu"),
            layers.Reshape((4, 4, 4)),
            layers.UpSampling2D(),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ],
        name="decoder",
    )
    image = keras.Input((8, 8, 1))
    return keras.Model(image, decoder(encoder(image)))


def denoising_conv1d(keras: Any) -> Any:
    """Noise while training, convolutions over time, transposed ones back."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 2)),
            layers.GaussianNoise(0.1),
            layers.Conv1D(8, 3, strides=2, padding="same", activation="relu"),
            layers.Conv1DTranspose(8, 3, strides=2, padding="same", activation="relu"),
            layers.Conv1D(2, 3, padding="same"),
        ]
    )


MODELS = tuple(
    ZooModel(function, loss="mse")
    for function in (dense_autoencoder, conv_autoencoder, bottleneck_autoencoder, denoising_conv1d)
)
