"""Detection and other heads with several outputs."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel
from tfopt.testing.zoo.vision import conv_bn_relu

_CLASSES = "sparse_categorical_crossentropy"


def ssd(keras: Any) -> Any:
    """Boxes and classes from feature maps of two sizes, as in SSD."""
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    small = conv_bn_relu(keras, conv_bn_relu(keras, image, 8, strides=2), 8, strides=2)
    maps = [small, conv_bn_relu(keras, small, 16, strides=2)]
    boxes = [layers.Reshape((-1, 4))(layers.Conv2D(8, 3, padding="same")(x)) for x in maps]
    scores = [layers.Reshape((-1, 3))(layers.Conv2D(6, 3, padding="same")(x)) for x in maps]
    outputs = [
        layers.Concatenate(axis=1, name="boxes")(boxes),
        layers.Softmax(name="classes")(layers.Concatenate(axis=1)(scores)),
    ]
    return keras.Model(image, outputs)


def yolo(keras: Any) -> Any:
    """LeakyReLU convolutions and one grid of boxes, as in tiny YOLO."""
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    x = image
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.LeakyReLU(0.1)(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    return keras.Model(image, layers.Conv2D(14, 1, name="grid")(x))


def feature_pyramid(keras: Any) -> Any:
    """Upsampled features added to larger ones, heads shared between the levels."""
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    large = conv_bn_relu(keras, image, 8, strides=2)
    small = conv_bn_relu(keras, large, 8, strides=2)
    merged = layers.Add()([layers.UpSampling2D()(small), layers.Conv2D(8, 1)(large)])
    head = layers.Conv2D(4, 3, padding="same", activation="sigmoid", name="head")
    return keras.Model(image, [head(merged), head(small)])


def landmarks_and_class(keras: Any) -> Any:
    """A class and ten coordinates from one backbone, as a dict."""
    layers = keras.layers
    image = keras.Input((16, 16, 3), name="image")
    x = layers.GlobalAveragePooling2D()(conv_bn_relu(keras, image, 8, strides=2))
    outputs = {
        "kind": layers.Dense(3, activation="softmax", name="kind")(x),
        "points": layers.Dense(10, name="points")(x),
    }
    return keras.Model(image, outputs)


MODELS = (
    ZooModel(ssd, loss=("mse", _CLASSES)),
    ZooModel(yolo, loss="mse"),
    ZooModel(feature_pyramid, loss="binary_crossentropy"),
    ZooModel(landmarks_and_class, loss=(_CLASSES, "mse")),
)
