"""Branches: several inputs, shared layers, nested models."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel
from tfopt.testing.zoo.vision import classes, conv_bn_relu

_IMAGE = (16, 16, 3)


def inception(keras: Any) -> Any:
    """Convolutions of several sizes and pooling, concatenated, twice."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8)
    for _ in range(2):
        pooled = layers.AveragePooling2D(3, 1, padding="same")(x)
        branches = [
            conv_bn_relu(keras, x, 4, kernel=1),
            conv_bn_relu(keras, conv_bn_relu(keras, x, 4, kernel=1), 6),
            conv_bn_relu(keras, pooled, 4, kernel=1),
            layers.MaxPooling2D(3, 1, padding="same")(x),
        ]
        x = layers.Concatenate()(branches)
    return classes(keras, image, x)


def image_and_numbers(keras: Any) -> Any:
    """An image and some measurements, merged."""
    layers = keras.layers
    image, numbers = keras.Input(_IMAGE, name="image"), keras.Input((5,), name="numbers")
    x = layers.GlobalAveragePooling2D()(conv_bn_relu(keras, image, 8, strides=2))
    y = layers.Dense(8, activation="relu")(numbers)
    x = layers.Dense(8, activation="relu")(layers.Concatenate()([x, y]))
    return keras.Model([image, numbers], layers.Dense(3, activation="softmax")(x))


def named_inputs(keras: Any) -> Any:
    """Inputs as a dict: numbers, and a category looked up in a table."""
    layers = keras.layers
    numbers = keras.Input((6,), name="numbers")
    category = keras.Input((1,), dtype="int32", name="category")
    y = layers.Flatten()(layers.Embedding(8, 4)(category))
    x = layers.Dense(8, activation="relu")(layers.Concatenate()([numbers, y]))
    outputs = layers.Dense(1, activation="sigmoid")(x)
    return keras.Model({"numbers": numbers, "category": category}, outputs)


def siamese(keras: Any) -> Any:
    """One net on two images, and the distance between what it makes of them."""
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(8),
        ],
        name="net",
    )
    left, right = keras.Input((8, 8, 1), name="left"), keras.Input((8, 8, 1), name="right")
    difference = layers.Subtract()([net(left), net(right)])
    squared = layers.Multiply()([difference, difference])
    return keras.Model([left, right], layers.Dense(1, activation="sigmoid")(squared))


def shared_layer(keras: Any) -> Any:
    """One convolution and one batch norm, used three times."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8)
    conv, norm = layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization()
    for _ in range(3):
        x = layers.ReLU()(norm(conv(x)))
    return classes(keras, image, x)


def two_towers(keras: Any) -> Any:
    """Two tables and the dot product of their rows: a recommender."""
    layers = keras.layers
    user = keras.Input((1,), dtype="int32", name="user")
    item = keras.Input((1,), dtype="int32", name="item")
    left = layers.Dense(8)(layers.Flatten()(layers.Embedding(20, 8)(user)))
    right = layers.Dense(8)(layers.Flatten()(layers.Embedding(20, 8)(item)))
    return keras.Model([user, item], layers.Dot(1)([left, right]))


def merges_of_every_kind(keras: Any) -> Any:
    """Add, Subtract, Multiply, Average, Maximum, Minimum and Concatenate."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 4)
    y = conv_bn_relu(keras, image, 4, kernel=1)
    kinds = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
    merged = [getattr(layers, kind)()([x, y]) for kind in kinds]
    return classes(keras, image, layers.Concatenate()(merged))


def nested_deeply(keras: Any) -> Any:
    """A model in a model in a model, one of them used twice."""
    layers = keras.layers
    block = keras.Sequential(
        [
            keras.Input((16, 16, 4)),
            layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
        ],
        name="block",
    )
    inner = keras.Input((16, 16, 4))
    pair = keras.Model(inner, layers.Add()([block(block(inner)), inner]), name="pair")
    image = keras.Input(_IMAGE)
    return classes(keras, image, pair(layers.Conv2D(4, 1)(image)))


MODELS = (
    ZooModel(inception),
    ZooModel(image_and_numbers),
    ZooModel(named_inputs, loss="binary_crossentropy", high=8),
    ZooModel(siamese, loss="binary_crossentropy"),
    ZooModel(shared_layer),
    ZooModel(two_towers, loss="mse", high=20),
    ZooModel(merges_of_every_kind),
    ZooModel(nested_deeply),
)
