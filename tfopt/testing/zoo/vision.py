"""Image classifiers: the nets of microcontrollers and phones, tiny."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel

_IMAGE = (16, 16, 3)


def conv_bn_relu(keras: Any, x: Any, filters: int, *, kernel: int = 3, strides: int = 1) -> Any:
    """A convolution without bias, batch norm and ReLU."""
    layers = keras.layers
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def classes(keras: Any, image: Any, x: Any, *, count: int = 10) -> Any:
    """A model that ends in global average pooling and a softmax."""
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(count, activation="softmax")(x))


def lenet(keras: Any) -> Any:
    """Convolutions with biases and fused ReLUs, max pooling, dense layers, dropout."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(6, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )


def resnet(keras: Any) -> Any:
    """Residual blocks, one of them with a stride and a projection."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8)
    for filters, strides in ((8, 1), (16, 2)):
        y = conv_bn_relu(keras, x, filters, strides=strides)
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        y = layers.BatchNormalization()(y)
        if strides > 1:
            x = layers.Conv2D(filters, 1, strides, padding="same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    return classes(keras, image, x)


def preactivation_resnet(keras: Any) -> Any:
    """Batch norm and ReLU in front of each convolution, as in ResNetV2."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, padding="same")(image)
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(8, 3, padding="same", use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        x = layers.Add()([x, layers.Conv2D(8, 3, padding="same")(y)])
    return classes(keras, image, layers.ReLU()(layers.BatchNormalization()(x)))


def mobilenet_v1(keras: Any) -> Any:
    """Depthwise-separable blocks with ReLU6, padded by hand before a stride."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8, strides=2)
    for filters, strides in ((16, 1), (24, 2)):
        if strides > 1:
            x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        padding = "valid" if strides > 1 else "same"
        x = layers.DepthwiseConv2D(3, strides, padding=padding, use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.Conv2D(filters, 1, use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    return classes(keras, image, x)


def mobilenet_v2(keras: Any) -> Any:
    """Inverted residuals: expand, depthwise, project without an activation, add."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8, strides=2)
    for _ in range(2):
        y = conv_bn_relu(keras, x, 32, kernel=1)
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        y = layers.Conv2D(8, 1, use_bias=False)(y)
        x = layers.Add()([x, layers.BatchNormalization()(y)])
    return classes(keras, image, x)


def efficientnet(keras: Any) -> Any:
    """Swish, depthwise convolutions and squeeze-and-excite, as in EfficientNet."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(image)
    x = layers.Activation("swish")(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.Activation("swish")(layers.BatchNormalization()(y))
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(y))
    gate = layers.Conv2D(4, 1, activation="swish")(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    y = layers.Conv2D(8, 1, use_bias=False)(layers.Multiply()([y, gate]))
    y = layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))(layers.BatchNormalization()(y))
    return classes(keras, image, layers.Add()([x, y]))


def squeezenet(keras: Any) -> Any:
    """Fire modules: squeeze, expand twice, concatenate; a convolution as the classifier."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, 2, activation="relu")(image)
    for filters in (4, 8):
        squeezed = layers.Conv2D(filters, 1, activation="relu")(x)
        left = layers.Conv2D(2 * filters, 1, activation="relu")(squeezed)
        right = layers.Conv2D(2 * filters, 3, padding="same", activation="relu")(squeezed)
        x = layers.Concatenate()([left, right])
    x = layers.Conv2D(10, 1)(layers.Dropout(0.5)(x))
    return keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(x)))


def densenet(keras: Any) -> Any:
    """Each layer sees all before it; batch norm behind concatenations, average pooling."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    for _ in range(3):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(4, 3, padding="same", use_bias=False)(y)])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return classes(keras, image, layers.AveragePooling2D(2)(layers.Conv2D(8, 1)(x)))


def separable_convolutions(keras: Any) -> Any:
    """SeparableConv2D with batch norm and a dilated one, as in Xception."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = layers.SeparableConv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(8, 3, dilation_rate=2, activation="relu")(x)
    return classes(keras, image, layers.MaxPooling2D(3, 2, padding="same")(x))


def grouped_and_dilated(keras: Any) -> Any:
    """Grouped and dilated convolutions, each with batch norm."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8)
    x = layers.Conv2D(8, 3, padding="same", groups=2, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 3, padding="same", dilation_rate=2, use_bias=False)(x)
    return classes(keras, image, layers.ReLU()(layers.BatchNormalization()(x)))


def squeeze_and_excite(keras: Any) -> Any:
    """Channels weighted by a gate of two dense layers with a hard sigmoid."""
    layers = keras.layers
    image = keras.Input(_IMAGE)
    x = conv_bn_relu(keras, image, 8)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Dense(4, activation="relu")(gate)
    gate = layers.Dense(8, activation="hard_sigmoid")(gate)
    return classes(keras, image, layers.Multiply()([x, gate]))


def any_size(keras: Any) -> Any:
    """Takes images of any height and width."""
    image = keras.Input((None, None, 3))
    x = conv_bn_relu(keras, image, 8, strides=2)
    return classes(keras, image, conv_bn_relu(keras, x, 8))


def frozen_backbone(keras: Any) -> Any:
    """A frozen nested backbone under a new head: transfer learning."""
    layers = keras.layers
    inner = keras.Input(_IMAGE)
    features = layers.GlobalMaxPooling2D()(conv_bn_relu(keras, inner, 8))
    backbone = keras.Model(inner, features, name="backbone")
    backbone.trainable = False
    image = keras.Input(_IMAGE)
    x = layers.Dropout(0.2)(backbone(image, training=False))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


MODELS = tuple(
    map(
        ZooModel,
        (
            lenet,
            resnet,
            preactivation_resnet,
            mobilenet_v1,
            mobilenet_v2,
            efficientnet,
            squeezenet,
            densenet,
            separable_convolutions,
            grouped_and_dilated,
            squeeze_and_excite,
            any_size,
            frozen_backbone,
        ),
    )
)
