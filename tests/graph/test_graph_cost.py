"""What a model costs, reckoned from its shapes."""

import pytest

from tfopt.errors import TechniqueError
from tfopt.graph.cost import Cost, model_cost
from tfopt.graph.dependencies import analyse
from tfopt.graph.slice_cost import Costs
from tfopt.keras_gate import tf_keras
from tfopt.techniques.channel_pruning import ChannelPruning

layers = tf_keras.layers


def test_weights_of_elementwise_layers_are_no_kernels():
    image = tf_keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = layers.LayerNormalization(axis=(1, 2, 3))(layers.PReLU()(x))
    assert model_cost(tf_keras.Model(image, x)) == Cost(macs=8 * 8 * 108, weights=108)


def of_images(*size):
    image = layers.Input((*size, 3))
    x = layers.Conv2D(8, 7, strides=2)(image)
    y = layers.Conv2D(8, 3, groups=4, padding="same")(x)
    y = layers.DepthwiseConv2D(3, padding="same")(layers.Add()([x, y]))
    y = layers.SeparableConv2D(12, 9, activation="relu")(y)
    y = layers.Conv2DTranspose(4, 3, strides=2)(layers.Dense(6)(y))
    return tf_keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(y)))


def of_words(*size):
    words = layers.Input(size)
    x = layers.Conv1D(8, 20)(layers.Embedding(30, 6)(words))
    x = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LSTM(5, return_sequences=True)(x)
    return tf_keras.Model(words, layers.Conv1D(2, 3)(layers.SeparableConv1D(4, 5)(x)))


@pytest.mark.parametrize(("model", "axes"), [(of_images, 2), (of_words, 1)])
def test_sizes_left_open_count_as_64(model, axes):
    open_sized, known = model(*[None] * axes), model(*[64] * axes)
    assert model_cost(open_sized) == model_cost(known)
    ours, theirs = map(analyse, (open_sized, known))
    assert Costs(ours).of(ours.everything()) == Costs(theirs).of(theirs.everything())
    assert Costs(ours).of(ours.everything()).macs > 1000


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.LSTM(64),
        lambda: layers.Bidirectional(layers.GRU(8)),
        lambda: layers.TimeDistributed(layers.Dense(64)),
    ],
)
def test_layers_that_cannot_be_cut_count_too(layer):
    signal = layers.Input((20, 8))
    x = layers.Conv1D(16, 3)(layers.Conv1D(16, 3, activation="relu")(signal))
    x = layer()(x)
    model = tf_keras.Model(signal, layers.Dense(3)(layers.Flatten()(x)))
    found = analyse(model)
    assert Costs(found).of(found.everything()).macs == model_cost(model).macs
    with pytest.raises(TechniqueError, match=r"expected macs=0\.\d+ at the most"):
        ChannelPruning(macs=0.9).wrap(model, steps_per_epoch=1)


def test_biases_of_two_axes_are_no_kernels():
    signal = layers.Input((6, 4))
    gru = layers.GRU(3, return_sequences=True)
    model = tf_keras.Model(signal, layers.MultiHeadAttention(2, 5)(gru(signal), gru.output))
    assert model_cost(model).macs == 6 * (9 * 4 + 9 * 3) + 6 * 4 * 3 * 10
