"""Folding batch norms: the same function, and only where it is one."""

import numpy as np
import pytest

from tfopt.graph.batch_norm import fold_batch_norm
from tfopt.graph.equality import prove_same
from tfopt.keras_gate import tf_keras

layers = tf_keras.layers


def with_statistics(model):
    """The model with batch norms that do something."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                weight.assign(random.uniform(0.3, 2, weight.shape))
    return model


def norms(model):
    return [layer.name for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


IMAGE_LAYERS = [
    layers.Conv2D(4, 3, padding="same", name="kernel"),
    layers.Conv2D(4, 3, dilation_rate=2, use_bias=False, name="kernel"),
    layers.Conv2D(4, 3, groups=2, strides=2, name="kernel"),
    layers.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False, name="kernel"),
    layers.DepthwiseConv2D(3, dilation_rate=2, name="kernel"),
    layers.Conv2DTranspose(5, 3, strides=2, name="kernel"),
    layers.SeparableConv2D(5, 3, depth_multiplier=2, use_bias=False, name="kernel"),
]
SEQUENCE_LAYERS = [
    layers.Dense(5, use_bias=False, name="kernel"),
    layers.Conv1D(4, 3, padding="causal", name="kernel"),
    layers.Conv1DTranspose(5, 3, use_bias=False, name="kernel"),
    layers.DepthwiseConv1D(3, depth_multiplier=2, name="kernel"),
    layers.SeparableConv1D(5, 3, name="kernel"),
]


@pytest.mark.parametrize(
    ("shape", "layer"),
    [((9, 9, 4), layer) for layer in IMAGE_LAYERS] + [((9, 4), layer) for layer in SEQUENCE_LAYERS],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("parts", [{}, {"scale": False, "center": False}])
def test_every_layer_with_a_kernel_takes_its_batch_norm_in(shape, layer, parts):
    x = source = layers.Input(shape)
    layer = type(layer).from_config(layer.get_config())
    layer.trainable = False
    x = layers.BatchNormalization(name="norm", **parts)(layer(x))
    model = with_statistics(tf_keras.Model(source, x))
    before = model.get_weights()
    folded = fold_batch_norm(model)
    prove_same(model, folded)
    assert norms(folded) == []
    assert folded.get_layer("kernel").use_bias
    assert not folded.get_layer("kernel").trainable
    assert len(model.get_layer("kernel")._outbound_nodes) == 1
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def left_alone():
    """Batch norms that follow no kernel of their own, by name."""
    image = layers.Input((8, 8, 4))
    shared = layers.Conv2D(4, 1, name="shared")
    read_twice = layers.Conv2D(4, 1)(image)
    result = layers.Conv2D(4, 1, name="result")(image)
    rows = layers.Conv2D(4, 1)(image)
    found = [
        layers.BatchNormalization(name="no_kernel")(image),
        layers.BatchNormalization(name="not_linear")(layers.Conv2D(4, 1, activation="relu")(image)),
        layers.BatchNormalization(name="one_call")(shared(image)),
        shared(layers.ReLU()(image)),
        layers.BatchNormalization(name="one_reader")(read_twice),
        read_twice,
        layers.BatchNormalization(name="behind_result")(result),
        layers.BatchNormalization(axis=1, name="other_axis")(rows),
        layers.BatchNormalization(name="of_batch")(layers.Conv2D(4, 1)(image), training=True),
    ]
    return tf_keras.Model(image, [layers.Add()(found), result])


def test_a_batch_norm_without_a_kernel_of_its_own_stays():
    model = with_statistics(left_alone())
    assert norms(fold_batch_norm(model)) == norms(model)
    assert len(norms(model)) == 7


def test_a_variance_of_zero_is_folded_with_epsilon_and_stays_without():
    for epsilon, left in ((1e-3, []), (0.0, ["norm"])):
        convolution = layers.Conv2D(2, 1, use_bias=False)
        norm = layers.BatchNormalization(epsilon=epsilon, name="norm")
        model = tf_keras.Sequential([layers.Input((4, 4, 1)), convolution, norm])
        norm.moving_variance.assign([0.0, 1.0])
        folded = fold_batch_norm(model)
        assert norms(folded) == left
        assert np.isfinite(folded.get_weights()[0]).all()
