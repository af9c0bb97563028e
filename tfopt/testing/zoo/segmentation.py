"""Segmentation: a class for each pixel."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel
from tfopt.testing.zoo.vision import conv_bn_relu

_IMAGE = (16, 16, 3)


def _unet(keras: Any, grow: Any) -> Any:
    """A U-Net of two levels."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    large = conv_bn_relu(keras, image, 8)
    small = conv_bn_relu(keras, layers.MaxPooling2D()(large), 16)
    x = layers.Concatenate()([grow(small), large])
    x = conv_bn_relu(keras, x, 8)
    return keras.Model(image, layers.Conv2D(3, 1, activation="softmax")(x))


def unet_transposed(keras: Any) -> Any:
    """A U-Net that grows by transposed convolutions."""
    return _unet(keras, keras.layers.Conv2DTranspose(8, 2, strides=2, padding="same"))


def unet_upsampling(keras: Any) -> Any:
    """A U-Net that grows by bilinear upsampling."""
    return _unet(keras, keras.layers.UpSampling2D(interpolation="bilinear"))


def transposed_with_norm(keras: Any) -> Any:
    """Transposed convolutions with batch norm and ReLU; one sigmoid output."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8, strides=2)
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))


def deeplab(keras: Any) -> Any:
    """Dilated convolutions and image pooling beside each other, resized at the end."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8, strides=2)
    parts = [
        layers.Conv2D(4, 3, padding="same", dilation_rate=rate, activation="relu")(x)
        for rate in (1, 2)
    ]
    pooled = layers.Conv2D(4, 1, activation="relu")(layers.AveragePooling2D(8)(x))
    parts.append(layers.UpSampling2D(8)(pooled))
    x = layers.Conv2D(3, 1)(layers.Concatenate()(parts))
    return keras.Model(image, layers.Softmax()(layers.Resizing(16, 16)(x)))


MODELS = (
    ZooModel(unet_transposed),
    ZooModel(unet_upsampling),
    ZooModel(transposed_with_norm, loss="binary_crossentropy"),
    ZooModel(deeplab),
)
