"""Recurrent nets over sequences of numbers."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel

_SEQUENCE = (10, 4)
_CLASSES = "sparse_categorical_crossentropy"


def _classifier(keras: Any, *middle: Any) -> Any:
    """Some layers over a sequence, and a classifier."""
    top = keras.layers.Dense(3, activation="softmax")
    return keras.Sequential([keras.Input(_SEQUENCE), *middle, top])


def simple_rnn(keras: Any) -> Any:
    """The simplest recurrent layer."""
    return _classifier(keras, keras.layers.SimpleRNN(8))


def lstm(keras: Any) -> Any:
    """One LSTM."""
    return _classifier(keras, keras.layers.LSTM(8))


def gru(keras: Any) -> Any:
    """One GRU."""
    return _classifier(keras, keras.layers.GRU(8))


def stacked_lstm(keras: Any) -> Any:
    """Two LSTMs, with dropout between them."""
    layers = keras.layers
    first = layers.LSTM(8, return_sequences=True)
    return _classifier(keras, first, layers.Dropout(0.2), layers.LSTM(6))


def bidirectional_gru(keras: Any) -> Any:
    """GRUs in both directions, then pooling over time."""
    layers = keras.layers
    both = layers.Bidirectional(layers.GRU(6, return_sequences=True))
    return _classifier(keras, both, layers.GlobalMaxPooling1D())


def time_distributed(keras: Any) -> Any:
    """A convolutional net on each image of a film, then an LSTM."""
    layers = keras.layers
    film = keras.Input((4, 8, 8, 1))
    x = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"))(film)
    x = layers.TimeDistributed(layers.Flatten())(x)
    x = layers.TimeDistributed(layers.Dense(6))(x)
    return keras.Model(film, layers.Dense(3, activation="softmax")(layers.LSTM(6)(x)))


def conv_lstm(keras: Any) -> Any:
    """A convolutional LSTM on images."""
    layers = keras.layers
    film = keras.Input((4, 8, 8, 1))
    x = layers.Flatten()(layers.ConvLSTM2D(4, 3)(film))
    return keras.Model(film, layers.Dense(3, activation="softmax")(x))


def rnn_of_cells(keras: Any) -> Any:
    """Cells of several kinds in one RNN layer."""
    layers = keras.layers
    return _classifier(keras, layers.RNN([layers.LSTMCell(6), layers.GRUCell(6)]))


def encoder_decoder(keras: Any) -> Any:
    """The decoder starts in the state in which the encoder ends."""
    layers = keras.layers
    source, target = keras.Input(_SEQUENCE, name="source"), keras.Input((6, 3), name="target")
    _, hidden, cell = layers.LSTM(6, return_state=True)(source)
    x = layers.LSTM(6, return_sequences=True)(target, initial_state=[hidden, cell])
    return keras.Model([source, target], layers.Dense(3, activation="softmax")(x))


def forecast(keras: Any) -> Any:
    """A sequence of any length to the next value."""
    layers = keras.layers
    sequence = keras.Input((None, 4))
    return keras.Model(sequence, layers.Dense(1)(layers.LSTM(8)(sequence)))


def repeated_state(keras: Any) -> Any:
    """The last state repeated and decoded: an LSTM autoencoder."""
    layers = keras.layers
    sequence = keras.Input(_SEQUENCE)
    x = layers.RepeatVector(10)(layers.LSTM(6)(sequence))
    x = layers.LSTM(6, return_sequences=True)(x)
    return keras.Model(sequence, layers.TimeDistributed(layers.Dense(4))(x))


MODELS = (
    *(
        ZooModel(function, low=-1.0)
        for function in (
            simple_rnn,
            lstm,
            gru,
            stacked_lstm,
            bidirectional_gru,
            time_distributed,
            conv_lstm,
            rnn_of_cells,
            encoder_decoder,
        )
    ),
    ZooModel(forecast, loss="mse", low=-1.0),
    ZooModel(repeated_state, loss="mse", low=-1.0),
)
