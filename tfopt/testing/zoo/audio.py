"""Audio: keyword spotting on spectrograms and on raw waves."""

from __future__ import annotations

from typing import Any

from tfopt.testing.zoo.model import ZooModel

_KEYWORDS = 12


def ds_cnn(keras: Any) -> Any:
    """Depthwise-separable convolutions on a spectrogram, as in MLPerf Tiny."""
    layers = keras.layers
    spectrogram = keras.Input((25, 10, 1))
    x = layers.Conv2D(16, (10, 4), 2, padding="same", use_bias=False)(spectrogram)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for _ in range(2):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Conv2D(16, 1, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Flatten()(layers.AveragePooling2D((13, 5))(x))
    return keras.Model(spectrogram, layers.Dense(_KEYWORDS, activation="softmax")(x))


def conv1d_keywords(keras: Any) -> Any:
    """Convolutions over time with batch norm and max pooling."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((32, 8))])
    for filters in (8, 16):
        model.add(layers.Conv1D(filters, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
        model.add(layers.MaxPooling1D())
    model.add(layers.GlobalAveragePooling1D())
    model.add(layers.Dense(_KEYWORDS, activation="softmax"))
    return model


def temporal_convolutions(keras: Any) -> Any:
    """Causal dilated convolutions with residuals, as in a TCN or WaveNet."""
    layers = keras.layers
    wave = keras.Input((32, 4))
    x = layers.Conv1D(8, 1)(wave)
    for rate in (1, 2, 4):
        y = layers.Conv1D(8, 3, padding="causal", dilation_rate=rate, activation="relu")(x)
        x = layers.Add()([x, layers.Conv1D(8, 1)(y)])
    x = layers.GlobalMaxPooling1D()(x)
    return keras.Model(wave, layers.Dense(_KEYWORDS, activation="softmax")(x))


def gated_wavenet(keras: Any) -> Any:
    """A gate of tanh and sigmoid branches multiplied."""
    layers = keras.layers
    wave = keras.Input((32, 4))
    tanh = layers.Conv1D(8, 3, padding="causal", activation="tanh")(wave)
    gate = layers.Conv1D(8, 3, padding="causal", activation="sigmoid")(wave)
    x = layers.Conv1D(8, 1, activation="relu")(layers.Multiply()([tanh, gate]))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(wave, layers.Dense(_KEYWORDS, activation="softmax")(x))


def separable_conv1d(keras: Any) -> Any:
    """Separable and depthwise convolutions over time."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 4)),
            layers.SeparableConv1D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv1D(3, activation="relu"),
            layers.AveragePooling1D(2),
            layers.Flatten(),
            layers.Dense(_KEYWORDS, activation="softmax"),
        ]
    )


def conv_recurrent_keywords(keras: Any) -> Any:
    """Convolutions on a spectrogram, then a GRU over time: a CRNN."""
    layers = keras.layers
    spectrogram = keras.Input((16, 8, 1))
    x = layers.Conv2D(4, 3, (1, 2), padding="same", activation="relu")(spectrogram)
    x = layers.GRU(8)(layers.Reshape((16, 16))(x))
    return keras.Model(spectrogram, layers.Dense(_KEYWORDS, activation="softmax")(x))


MODELS = tuple(
    ZooModel(function, low=-1.0)
    for function in (
        ds_cnn,
        conv1d_keywords,
        temporal_convolutions,
        gated_wavenet,
        separable_conv1d,
        conv_recurrent_keywords,
    )
)
