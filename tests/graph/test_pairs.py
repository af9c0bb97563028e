"""Which channels can be rescaled, and that rescaling them changes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.graph.equality import prove_same
from tfopt.graph.pairs import Scaling, find_pairs
from tfopt.keras_gate import load_model, save_model, tf_keras
from tfopt.testing import dense_net, depthwise_net, residual_net, small_cnn
from tfopt.testing.stress import stress

layers = tf_keras.layers


def chain(shape, *middle):
    """Layers one after the other."""
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([layers.Input(shape), *middle])
    for weight in model.trainable_weights:
        if weight.shape.rank == 1:
            weight.assign(np.random.default_rng(1).uniform(-0.5, 0.5, weight.shape))
    return model


def names(model):
    return [pair.layers for pair in find_pairs(model).found]


BETWEEN = {
    "linear": [],
    "relu": [layers.ReLU()],
    "leaky": [layers.LeakyReLU(0.2)],
    "slope": [layers.ReLU(negative_slope=0.1)],
    "prelu": [layers.PReLU(alpha_initializer="random_uniform", shared_axes=[1, 2])],
    "relu6": [layers.ReLU(6.0)],
    "leaky6": [layers.ReLU(6.0, negative_slope=0.1)],
    "pooling": [layers.ReLU(), layers.MaxPooling2D(), layers.AveragePooling2D(2, 1)],
    "padding": [layers.ZeroPadding2D(1), layers.Dropout(0.5), layers.UpSampling2D()],
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_layers_that_hand_a_scale_on(between):
    between = [type(layer).from_config(layer.get_config()) for layer in between]
    first, second = layers.Conv2D(4, 3, name="first"), layers.Conv2D(3, 2, name="second")
    model = chain((9, 9, 2), first, *between, second)
    assert names(model) == [["first", "second"]]
    prove_same(model, stress(model), tolerance=1e-5)


KERNELS = {
    "grouped": layers.Conv2D(8, 3, groups=4, name="x"),
    "depthwise": layers.DepthwiseConv2D(3, depth_multiplier=2, name="x"),
    "transposed": layers.Conv2DTranspose(3, 3, strides=2, name="x"),
    "dilated": layers.Conv2D(3, 3, dilation_rate=2, use_bias=False, name="x"),
    "dense": layers.Dense(5, name="x"),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_kernels_that_make_and_read_channels(kernel):
    kernel = type(kernel).from_config(kernel.get_config())
    first, last = layers.Conv2D(4, 1, name="first"), layers.Conv2D(2, 1, name="last")
    model = chain((9, 9, 2), first, kernel, layers.ReLU(), last)
    assert names(model) == [["first", "x"], ["x", "last"]]
    prove_same(model, stress(model), tolerance=1e-5)


def test_a_separable_convolution_has_a_pair_inside():
    model = chain(
        (9, 9, 2),
        layers.Conv2D(4, 1, name="first"),
        layers.SeparableConv2D(3, 3, name="x"),
        layers.Dense(2, name="last"),
    )
    assert sorted(names(model)) == [["first", "x"], ["x"], ["x", "last"]]
    prove_same(model, stress(model), tolerance=1e-5)


def test_sequences_and_flattened_channels():
    model = chain(
        (12, 3),
        layers.Conv1D(4, 3, name="a", activation="relu"),
        layers.MaxPooling1D(),
        layers.DepthwiseConv1D(2, name="b"),
        layers.Conv1DTranspose(5, 2, name="c"),
        layers.SeparableConv1D(4, 2, name="d"),
        layers.Reshape((-1, 8)),
        layers.Flatten(),
        layers.Dense(6, name="e"),
        layers.Dense(2, "softmax", name="f"),
    )
    assert ["d", "e"] in names(model)
    assert len(names(model)) == 6
    prove_same(model, stress(model), tolerance=1e-5)


@pytest.mark.parametrize("build", [small_cnn, depthwise_net, residual_net, dense_net])
@given(seed=st.integers(0, 2**16))
@settings(max_examples=3, deadline=None)
def test_rescaled_models_compute_the_same(build, seed):
    tf_keras.utils.set_random_seed(seed)
    model = build()
    prove_same(model, stress(model, seed=seed))


def test_all_that_is_added_together_has_one_scale():
    (_, tied) = sorted(find_pairs(stress(residual_net())).found, key=lambda p: len(p.makers))
    assert [side.layer.name for side in tied.makers] == ["stem_conv", "second_conv"]
    assert [side.layer.name for side in tied.readers] == ["first_conv", "probabilities"]


def test_what_rules_a_pair_out_is_told():
    image = layers.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 1, name="frozen")(image)
    x = layers.Conv2D(4, 1, activation="sigmoid", name="curved")(x)
    twice = layers.Conv2D(4, 1, name="twice")
    x = layers.Concatenate(name="join")([twice(twice(x)), layers.Conv2D(4, 1, name="joined")(x)])
    model = tf_keras.Model(image, layers.Conv2D(4, 1, name="last")(x))
    model.get_layer("frozen").trainable = False
    pairs = find_pairs(model)
    assert pairs.found == ()
    assert pairs.reasons["frozen"] == "frozen (trainable=False)"
    assert pairs.reasons["twice"].startswith("called several times")
    assert "frozen, which is left alone" in pairs.reasons["curved"]
    assert "the sigmoid of curved" in pairs.reasons["joined"]
    assert "join (Concatenate)" in pairs.reasons["joined"]
    assert "an output of the model" in pairs.reasons["last"]


def test_a_layer_whose_output_is_an_output_of_the_model_is_in_no_pair():
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, name="first")(image)
    model = tf_keras.Model(image, [x, layers.Conv2D(2, 1, name="second")(layers.ReLU()(x))])
    assert find_pairs(model).found == ()


def test_limits_of_single_channels_survive_saving(tmp_path):
    model = chain((6, 6, 2), layers.Conv2D(4, 3), layers.ReLU(6.0), layers.Conv2D(3, 2))
    limited = stress(model)
    (pair,) = find_pairs(limited).found
    (limits,) = pair.clips.values()
    assert np.ptp(limits) > 1
    save_model(limited, tmp_path / "model.keras")
    prove_same(limited, load_model(tmp_path / "model.keras"))
    back = Scaling((pair,))
    back.divide(pair, limits / 6)
    restored = back.rescaled(limited)
    prove_same(model, restored)
    assert [type(layer).__name__ for layer in restored.layers][1:] == ["Conv2D", "ReLU", "Conv2D"]
    assert restored.layers[2].max_value == pytest.approx(6)
