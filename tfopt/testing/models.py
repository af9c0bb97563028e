"""Tiny untrained models of the usual kinds, all for 8x8 images and ten classes by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfopt.keras_gate import tf_keras

if TYPE_CHECKING:
    Shape = tuple[int, int, int]

_DIGIT = (8, 8, 1)


def small_cnn(shape: Shape = _DIGIT, classes: int = 10) -> tf_keras.Model:
    """Two convolutions with batch norm, the second with a stride, and a classifier.

    Example:
        >>> small_cnn().output_shape
        (None, 10)
    """
    layers = tf_keras.layers
    image = layers.Input(shape, name="image")
    x = _conv_bn_relu(image, 8, "stem")
    x = _conv_bn_relu(x, 16, "block", strides=2)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return tf_keras.Model(image, x, name="small_cnn")


def depthwise_net(shape: Shape = _DIGIT, classes: int = 10) -> tf_keras.Model:
    """A stem and a depthwise-separable block, as in MobileNet."""
    layers = tf_keras.layers
    image = layers.Input(shape, name="image")
    x = _conv_bn_relu(image, 8, "stem")
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(name="depthwise_bn")(x)
    x = layers.ReLU(6.0, name="depthwise_relu")(x)
    x = _conv_bn_relu(x, 16, "pointwise", kernel_size=1)
    return _classifier(image, x, classes, "depthwise_net")


def residual_net(shape: Shape = _DIGIT, classes: int = 10) -> tf_keras.Model:
    """A stem and a residual block, as in ResNet."""
    layers = tf_keras.layers
    image = layers.Input(shape, name="image")
    stem = _conv_bn_relu(image, 8, "stem")
    x = _conv_bn_relu(stem, 8, "first")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="second_conv")(x)
    x = layers.BatchNormalization(name="second_bn")(x)
    x = layers.Add(name="add")([x, stem])
    x = layers.ReLU(name="add_relu")(x)
    return _classifier(image, x, classes, "residual_net")


def dense_net(shape: Shape = _DIGIT, classes: int = 10) -> tf_keras.Model:
    """Two fully connected layers."""
    layers = tf_keras.layers
    image = layers.Input(shape, name="image")
    x = layers.Flatten(name="flatten")(image)
    x = layers.Dense(32, activation="relu", name="hidden")(x)
    x = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return tf_keras.Model(image, x, name="dense_net")


def _conv_bn_relu(
    x: Any, filters: int, name: str, *, kernel_size: int = 3, strides: int = 1
) -> Any:
    """A convolution without bias, batch norm and ReLU."""
    layers = tf_keras.layers
    x = layers.Conv2D(
        filters, kernel_size, strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _classifier(image: Any, x: Any, classes: int, name: str) -> tf_keras.Model:
    """Global average pooling and a softmax over the classes."""
    layers = tf_keras.layers
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return tf_keras.Model(image, x, name=name)
