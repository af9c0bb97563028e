"""Activation functions, each behind a convolution with batch norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfopt.testing.zoo.model import ZooModel
from tfopt.testing.zoo.vision import classes

_IMAGE = (12, 12, 3)


def _net(keras: Any, activation: Callable[[], Any]) -> Any:
    """Two convolutions with batch norm and an activation layer."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(image)
    x = activation()(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    return classes(keras, image, activation()(layers.BatchNormalization()(x)))


def _named(keras: Any, name: str) -> Any:
    """The net of an activation that Keras knows by name."""
    return _net(keras, lambda: keras.layers.Activation(name))


def leaky_relu(keras: Any) -> Any:
    """LeakyReLU layers."""
    return _net(keras, lambda: keras.layers.LeakyReLU(0.2))


def prelu(keras: Any) -> Any:
    """PReLU with a slope for each channel."""
    return _net(keras, lambda: keras.layers.PReLU(shared_axes=[1, 2]))


def prelu_everywhere(keras: Any) -> Any:
    """PReLU with a slope for each position."""
    return _net(keras, keras.layers.PReLU)


def elu(keras: Any) -> Any:
    """ELU layers."""
    return _net(keras, keras.layers.ELU)


def selu(keras: Any) -> Any:
    """SELU."""
    return _named(keras, "selu")


def swish(keras: Any) -> Any:
    """Swish, also called SiLU."""
    return _named(keras, "swish")


def gelu(keras: Any) -> Any:
    """GELU."""
    return _named(keras, "gelu")


def mish(keras: Any) -> Any:
    """Mish."""
    return _named(keras, "mish")


def softplus(keras: Any) -> Any:
    """Softplus."""
    return _named(keras, "softplus")


def tanh_and_sigmoid(keras: Any) -> Any:
    """Tanh within the convolution, a sigmoid behind the next."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, 2, activation="tanh")(image)
    return classes(keras, image, layers.Conv2D(8, 3, activation="sigmoid")(x))


def hard_swish(keras: Any) -> Any:
    """Hard swish in layers, x * relu6(x + 3) / 6, as in MobileNetV3."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    gate = layers.Rescaling(1 / 6)(layers.ReLU(6.0)(layers.Rescaling(1.0, offset=3.0)(x)))
    return classes(keras, image, layers.Multiply()([x, gate]))


def hard_silu(keras: Any) -> Any:
    """Keras 3's own hard swish."""
    return _named(keras, "hard_silu")


def thresholded_relu(keras: Any) -> Any:
    """ReLUs with a largest value, a slope and a threshold, as ReLU layers know them."""
    return _net(keras, lambda: keras.layers.ReLU(4.0, 0.1, 0.2))


MODELS = (
    *map(
        ZooModel,
        (
            leaky_relu,
            prelu,
            prelu_everywhere,
            elu,
            selu,
            swish,
            gelu,
            mish,
            softplus,
            tanh_and_sigmoid,
            hard_swish,
            thresholded_relu,
        ),
    ),
    ZooModel(hard_silu, only="keras"),
)
