"""Transformers: attention, layer normalization, GELU."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel

_WIDTH = 8
_VOCABULARY = 50


def _block(keras: Any, x: Any) -> Any:
    """Attention and two dense layers, each normalized before and added."""
    layers = keras.layers
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.Dense(2 * _WIDTH, activation="gelu")(y)
    return layers.Add()([x, layers.Dense(_WIDTH)(layers.Dropout(0.1)(y))])


def vision_transformer(keras: Any) -> Any:
    """Patches by a strided convolution, two blocks, global pooling: a ViT."""
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.Reshape((16, _WIDTH))(layers.Conv2D(_WIDTH, 4, 4)(image))
    x = _block(keras, _block(keras, x))
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def text_transformer(keras: Any) -> Any:
    """Word vectors, normalization after the addition, ReLU."""
    layers = keras.layers
    tokens = keras.Input((12,), dtype="int32")
    x = layers.Embedding(_VOCABULARY, _WIDTH)(tokens)
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))
    y = layers.Dense(_WIDTH)(layers.Dense(16, activation="relu")(x))
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(layers.Add()([x, y])))
    return keras.Model(tokens, layers.Dense(4, activation="softmax")(x))


def language_model(keras: Any) -> Any:
    """Causal attention and a class for each position."""
    layers = keras.layers
    tokens = keras.Input((12,), dtype="int32")
    x = layers.Embedding(_VOCABULARY, _WIDTH)(tokens)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)])
    x = layers.LayerNormalization()(x)
    return keras.Model(tokens, layers.Dense(_VOCABULARY, activation="softmax")(x))


def cross_attention(keras: Any) -> Any:
    """A query attends to another sequence, through the Attention layer too."""
    layers = keras.layers
    query, memory = keras.Input((4, _WIDTH), name="query"), keras.Input((6, _WIDTH), name="memory")
    x = layers.MultiHeadAttention(2, 4)(query, memory)
    x = layers.Attention()([layers.Dense(_WIDTH)(x), memory])
    x = layers.Flatten()(x)
    return keras.Model([query, memory], layers.Dense(4, activation="softmax")(x))


def mlp_mixer(keras: Any) -> Any:
    """Dense layers over patches and over channels in turn, by Permute."""
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.Reshape((16, _WIDTH))(layers.Conv2D(_WIDTH, 4, 4)(image))
    y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
    y = layers.Dense(16)(layers.Dense(16, activation="gelu")(y))
    x = layers.Add()([x, layers.Permute((2, 1))(y)])
    y = layers.Dense(_WIDTH)(layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x)))
    x = layers.GlobalAveragePooling1D()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def convnext(keras: Any) -> Any:
    """Wide depthwise convolution, layer normalization, dense layers on each pixel."""
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(_WIDTH, 2, 2)(image))
    y = layers.DepthwiseConv2D(5, padding="same")(x)
    y = layers.Dense(16, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(y))
    x = layers.Add()([x, layers.Dense(_WIDTH)(y)])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


MODELS = (
    ZooModel(vision_transformer),
    ZooModel(text_transformer, high=_VOCABULARY),
    ZooModel(language_model, high=_VOCABULARY),
    ZooModel(cross_attention, low=-1.0),
    ZooModel(mlp_mixer),
    ZooModel(convnext),
)
