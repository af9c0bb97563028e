"""Models that hold the user's own code: custom layers, subclasses, operators, half precision."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tfopt.testing.zoo.model import ZooModel
from tfopt.testing.zoo.vision import classes, conv_bn_relu

_IMAGE = (16, 16, 3)


@functools.cache
def _scale_class(keras: Any) -> Any:
    """A layer of the user's own: a learned factor for each channel, and an offset."""

    @keras.utils.register_keras_serializable("tfopt_zoo")
    class Scale(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")

        def call(self, x: Any) -> Any:
            return x * self.factor + 0.5

    return Scale


def custom_layer(keras: Any) -> Any:
    """A layer of the user's own between convolutions."""
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8)
    x = _scale_class(keras)(name="scale")(x)
    return classes(keras, image, conv_bn_relu(keras, x, 8, strides=2))


@functools.cache
def _block_class(keras: Any) -> Any:
    """A layer of the user's own made of Keras layers."""

    @keras.utils.register_keras_serializable("tfopt_zoo")
    class Block(keras.layers.Layer):
        def __init__(self, filters: int, **settings: Any) -> None:
            super().__init__(**settings)
            self.filters = filters
            self.conv = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)
            self.norm = keras.layers.BatchNormalization()

        def build(self, shape: Any) -> None:
            self.conv.build(shape)
            self.norm.build((*shape[:-1], self.filters))
            self.built = True

        def call(self, x: Any, training: Any = None) -> Any:
            return self.norm(self.conv(x), training=training)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "filters": self.filters}

    return Block


def custom_block(keras: Any) -> Any:
    """A layer of the user's own that holds a convolution and a batch norm."""
    image = keras.Input(_IMAGE)
    x = keras.layers.ReLU()(_block_class(keras)(8, name="block")(image))
    return classes(keras, image, x)


@functools.cache
def _net_class(keras: Any, *, branches: bool) -> Any:
    """A subclassed model, whose call branches on values if wanted: it cannot be traced then."""

    @keras.utils.register_keras_serializable("tfopt_zoo", f"Net{branches:d}")
    class Net(keras.Model):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.conv = keras.layers.Conv2D(8, 3, 2, activation="relu")
            self.pool = keras.layers.GlobalAveragePooling2D()
            self.top = keras.layers.Dense(10, activation="softmax")

        def call(self, image: Any) -> Any:
            if branches and float(np.max(np.asarray(image))) > 0.5:
                image = image * 0.5
            return self.top(self.pool(self.conv(image)))

    return Net


def subclassed(keras: Any) -> Any:
    """A model with a `call` of its own, made of layers: it can be traced."""
    model = _net_class(keras, branches=False)(name="subclassed")
    model(np.zeros((2, *_IMAGE), np.float32))
    return model


def subclassed_untraceable(keras: Any) -> Any:
    """A model whose `call` branches in Python on the values: it must be refused with the reason."""
    model = _net_class(keras, branches=True)(name="subclassed_untraceable")
    model(np.zeros((2, *_IMAGE), np.float32))
    return model


def lambdas(keras: Any) -> Any:
    """Lambda layers with arithmetic."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Lambda(lambda pixels: pixels * 2.0 - 1.0)(image)
    x = conv_bn_relu(keras, x, 8, strides=2)
    return classes(keras, image, layers.Lambda(lambda value: value / 3.0)(x))


def operators(keras: Any) -> Any:
    """Arithmetic and slicing written as operators on tensors."""
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image * 2.0 - 1.0, 8)
    x = x[:, 2:-2, ::2] / 4.0 + 0.25
    return classes(keras, image, conv_bn_relu(keras, x, 8) * 0.5)


def keras_operations(keras: Any) -> Any:
    """`keras.ops` in the graph."""
    ops = keras.ops
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8, strides=2)
    x = ops.concatenate([ops.relu(x), ops.clip(x, 0.0, 1.0)], axis=-1)
    x = ops.transpose(ops.reshape(x, (-1, 64, 16)), (0, 2, 1))
    x = ops.mean(x * ops.sigmoid(x), axis=-1)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax")(x))


def half_precision(keras: Any) -> Any:
    """Layers of the policy mixed_float16, a head in 32 bits."""
    policy_class = getattr(keras, "DTypePolicy", None) or keras.mixed_precision.Policy
    half = policy_class("mixed_float16")
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(_IMAGE),
            layers.Conv2D(8, 3, 2, use_bias=False, dtype=half),
            layers.BatchNormalization(dtype=half),
            layers.ReLU(dtype=half),
            layers.GlobalAveragePooling2D(dtype=half),
            layers.Dense(10, activation="softmax", dtype="float32"),
        ]
    )


def channels_first(keras: Any) -> Any:
    """Images with the channels in front."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((3, 16, 16)),
            layers.Permute((2, 3, 1)),
            layers.Conv2D(8, 3, 2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


MODELS = (
    *map(
        ZooModel,
        (
            custom_layer,
            custom_block,
            subclassed,
            subclassed_untraceable,
            lambdas,
            operators,
            half_precision,
            channels_first,
        ),
    ),
    ZooModel(keras_operations, only="keras"),
)
