"""Text: token numbers in, classes out."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel

_VOCABULARY = 50
_LENGTH = 12


def _classifier(keras: Any, *middle: Any) -> Any:
    """An embedding, some layers, and a classifier."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((_LENGTH,), dtype="int32"),
            layers.Embedding(_VOCABULARY, 8),
            *middle,
            layers.Dense(4, activation="softmax"),
        ]
    )


def embedding_pooling(keras: Any) -> Any:
    """The mean of word vectors, as in fastText."""
    layers = keras.layers
    return _classifier(keras, layers.GlobalAveragePooling1D(), layers.Dense(8, activation="relu"))


def text_lstm(keras: Any) -> Any:
    """An LSTM over words."""
    return _classifier(keras, keras.layers.LSTM(8))


def text_gru(keras: Any) -> Any:
    """A GRU over words."""
    return _classifier(keras, keras.layers.GRU(8))


def text_bidirectional_lstm(keras: Any) -> Any:
    """An LSTM in both directions."""
    return _classifier(keras, keras.layers.Bidirectional(keras.layers.LSTM(8)))


def text_cnn(keras: Any) -> Any:
    """Convolutions of several widths beside each other, pooled and concatenated."""
    layers = keras.layers
    tokens = keras.Input((_LENGTH,), dtype="int32")
    x = layers.Embedding(_VOCABULARY, 8)(tokens)
    widths = [layers.Conv1D(8, width, activation="relu")(x) for width in (2, 3, 4)]
    x = layers.Concatenate()([layers.GlobalMaxPooling1D()(width) for width in widths])
    return keras.Model(tokens, layers.Dense(4, activation="softmax")(layers.Dropout(0.5)(x)))


def masked_lstm(keras: Any) -> Any:
    """Padding (token 0) is masked."""
    layers = keras.layers
    tokens = keras.Input((_LENGTH,), dtype="int32")
    x = layers.Embedding(_VOCABULARY, 8, mask_zero=True)(tokens)
    return keras.Model(tokens, layers.Dense(4, activation="softmax")(layers.LSTM(8)(x)))


def token_tagger(keras: Any) -> Any:
    """A class for each word, the number of words left open."""
    layers = keras.layers
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(_VOCABULARY, 8)(tokens)
    x = layers.Conv1D(8, 3, padding="same", activation="relu")(x)
    return keras.Model(tokens, layers.Dense(5, activation="softmax")(x))


MODELS = tuple(
    ZooModel(function, high=_VOCABULARY)
    for function in (
        embedding_pooling,
        text_lstm,
        text_gru,
        text_bidirectional_lstm,
        text_cnn,
        masked_lstm,
        token_tagger,
    )
)
