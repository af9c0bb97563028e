"""What earlier steps gained of a kernel outlasts every later training, of whatever layers."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import facts
from tfopt.errors import LostGainError
from tfopt.gains import Gains
from tfopt.keras_gate import clone, tf_keras

layers = tf_keras.layers
X = np.random.default_rng(0).normal(size=(384, 6, 6, 4)).astype("float32")
Y = X[:, 0, 0, :1]
PRUNE = tfopt.MagnitudePruning(epochs=2)
SHARE = tfopt.WeightClustering(clusters=4, epochs=1)


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.from_arrays((X[:320], Y[:320]), (X[320:], Y[320:]), loss="mse", metric="mae")


@pytest.fixture
def model():
    """A depthwise layer, an untrained one, and a last one that is too small to cluster."""
    tf_keras.utils.set_random_seed(3)
    stack = [
        tf_keras.Input((6, 6, 4)),
        layers.Conv2D(8, 3, activation="relu", name="conv"),
        layers.DepthwiseConv2D(3, activation="relu", name="depthwise"),
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(16, activation="relu", name="hidden"),
        layers.Dense(8, kernel_initializer="ones", name="untrained"),
        layers.Dense(1, name="price"),
    ]
    return tf_keras.Sequential(stack)


def kernels(model):
    return {
        layer.name: next(iter(facts.kernels(layer).values())).numpy()
        for layer in model.layers
        if facts.kernels(layer)
    }


def zeros(model):
    return {name: value == 0 for name, value in kernels(model).items()}


def assert_zeros_stay(before, after):
    now = zeros(after)
    for name, was in zeros(before).items():
        assert now[name][was].all(), name


LATER = [
    SHARE,
    tfopt.WeightClustering(clusters=16, epochs=1),
    dataclasses.replace(SHARE, skip=("conv", "price")),
    dataclasses.replace(SHARE, only=("Dense",)),
    tfopt.MagnitudePruning(sparsity=0.9, epochs=2, only=("hidden",)),
    tfopt.MagnitudePruning(sparsity=0.7, epochs=2, only=("Conv2D",), schedule="constant"),
]


@pytest.mark.parametrize("later", LATER, ids=lambda step: step.settings)
def test_zeros_stay_in_every_kernel(model, task, later):
    every = ("Conv2D", "DepthwiseConv2D", "Dense")
    pruned = dataclasses.replace(PRUNE, only=every).apply(model, task)
    assert {name: mask.mean() for name, mask in zeros(pruned).items()} == dict.fromkeys(
        zeros(model), 0.5
    )
    done = later.apply(pruned, task)
    assert_zeros_stay(pruned, done)
    untouched = [name for name in kernels(done) if name not in later.select(pruned).touched]
    for name in untouched:  # what is held are the zeros: the others are trained on
        assert (kernels(done)[name] != kernels(pruned)[name]).any()


def test_shared_values_stay_in_every_kernel(model, task):
    shared = tfopt.WeightClustering(clusters=4, epochs=1, only=("hidden",)).apply(model, task)
    done = tfopt.WeightClustering(clusters=16, epochs=1, only=("Conv2D",)).apply(shared, task)
    assert np.array_equal(kernels(shared)["hidden"], kernels(done)["hidden"])
    assert len(np.unique(kernels(done)["hidden"])) <= 4
    assert len(np.unique(kernels(done)["conv"])) <= 16


def test_kernels_that_were_never_shared_are_trained(model, task):
    done = dataclasses.replace(SHARE, only=("conv",)).apply(model, task)
    before, after = kernels(model), kernels(done)
    for name in before:
        assert (before[name] != after[name]).any(), name


@pytest.mark.parametrize("later", [SHARE, PRUNE], ids=lambda step: step.name)
def test_a_kernel_that_is_all_zeros_was_not_trained_yet(model, task, later):
    model.get_layer("untrained").kernel.assign(tf.zeros((16, 8)))
    later = dataclasses.replace(later, only=("conv",))
    result = tfopt.optimize(model, [later], task=task, target=tfopt.Target.int8(refine=False))
    assert kernels(result.model)["untrained"].any()


@pytest.mark.parametrize("step", [SHARE, PRUNE], ids=lambda step: step.name)
def test_nothing_is_added_to_the_training_of_a_model_without_gains(model, step):
    wrapped = step.wrap(model, steps_per_epoch=10)
    chosen = [kernel.variable for kernel in step.chosen_kernels(wrapped.model)]
    assert not Gains(clone(model), but=[])
    assert not Gains(wrapped.model, but=chosen)


def test_the_chain_of_one_small_last_layer(task):
    x = X.reshape(len(X), -1)[:, :8]
    small = tfopt.Task.from_arrays((x[:320], Y[:320]), (x[320:], Y[320:]), loss="mse", metric="mae")
    dense = [layers.Dense(32, activation="relu"), layers.Dense(16, activation="relu")]
    model = tf_keras.Sequential([tf_keras.Input((8,)), *dense, layers.Dense(1, name="price")])
    steps = [PRUNE, tfopt.WeightClustering(epochs=1)]
    target = tfopt.Target.int8(refine=False)
    done = tfopt.optimize(model, steps, task=small, target=target).model
    assert all(mask.mean() >= 0.5 for mask in zeros(done).values())
    assert facts.measure(done).sparsity < 0.6


@pytest.mark.parametrize(
    "later",
    [
        tfopt.WeightClustering(only=("hidden",)),
        tfopt.MagnitudePruning(sparsity=0.9, schedule="constant", only=("hidden",)),
    ],
    ids=lambda step: step.name,
)
def test_a_loop_of_ones_own_keeps_them_or_is_told(model, task, later):
    pruned = PRUNE.apply(model, task)
    wrapped = later.wrap(pruned, steps_per_epoch=10)
    wrapped.model.compile("adam", "mse")
    wrapped.model.fit(X, Y, epochs=2, verbose=0)
    assert_zeros_stay(pruned, wrapped.strip())
    kernel = wrapped.model.get_layer("conv").kernel
    kernel.assign_add(tf.ones_like(kernel))
    with pytest.raises(LostGainError, match=r"conv \(kernel\) without the zeros"):
        wrapped.strip()


def test_the_way_out_that_a_lost_gain_names_works(model, task):
    """Centroids for each channel part the weights that the whole kernel shared."""
    target = tfopt.Target.int8(refine=False)
    per_channel = tfopt.WeightClustering(clusters=16, per_channel=True, epochs=1)
    with pytest.raises(LostGainError, match=r"conv \(kernel\).*to skip of WeightClustering"):
        tfopt.optimize(model, [SHARE, per_channel], task=task, target=target)
    mended = dataclasses.replace(per_channel, skip=("conv",))
    done = tfopt.optimize(model, [SHARE, mended], task=task, target=target).model
    assert len(np.unique(kernels(done)["conv"])) <= 4
