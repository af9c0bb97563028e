"""Preprocessing and augmentation as the first layers of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfopt.testing.zoo.model import ZooModel
from tfopt.testing.zoo.vision import conv_bn_relu

_IMAGE = (16, 16, 3)


def _behind(keras: Any, *first: Any) -> Any:
    """A convolutional net behind some layers."""
    image = keras.Input(_IMAGE)
    x = image
    for layer in first:
        x = layer(x)
    x = keras.layers.GlobalAveragePooling2D()(conv_bn_relu(keras, x, 8, strides=2))
    return keras.Model(image, keras.layers.Dense(10, activation="softmax")(x))


def rescaling(keras: Any) -> Any:
    """Pixels to -1 to 1."""
    return _behind(keras, keras.layers.Rescaling(1 / 127.5, offset=-1.0))


def adapted_normalization(keras: Any) -> Any:
    """Normalization by the mean and variance of data."""
    layer = keras.layers.Normalization()
    pixels = np.random.default_rng(0).normal((120, 100, 80), 40.0, (20, 4, 4, 3))
    layer.adapt(pixels.astype(np.float32))
    return _behind(keras, layer)


def given_normalization(keras: Any) -> Any:
    """Normalization by numbers the user gives."""
    layer = keras.layers.Normalization(mean=[120.0, 100.0, 80.0], variance=[900.0, 1600.0, 400.0])
    return _behind(keras, layer)


def augmentation(keras: Any) -> Any:
    """Random flips, rotations, zooms, shifts and contrast, which do nothing at inference."""
    layers = keras.layers
    return _behind(
        keras,
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.1),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomContrast(0.1),
        layers.Rescaling(1 / 255),
    )


def resizing(keras: Any) -> Any:
    """Resized and cropped."""
    layers = keras.layers
    return _behind(
        keras, layers.Resizing(20, 20), layers.CenterCrop(16, 16), layers.Rescaling(0.01)
    )


MODELS = tuple(
    ZooModel(function, high=256)
    for function in (rescaling, adapted_normalization, given_normalization, augmentation, resizing)
)
