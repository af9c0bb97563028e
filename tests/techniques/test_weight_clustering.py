"""Clustering leaves as few different weights as it is asked for, and keeps zeros."""

import numpy as np
import pytest

import tfopt
from tfopt import facts
from tfopt.errors import SettingError, TechniqueError
from tfopt.keras_gate import clone, tf_keras, tfmot
from tfopt.testing import dense_net, depthwise_net, small_cnn


@pytest.fixture(scope="module")
def data():
    return next(tfopt.Task.digits().train.batches(256))


def trained(technique, model, data):
    wrapped = technique.wrap(model, steps_per_epoch=8)
    wrapped.model.compile("adam", "sparse_categorical_crossentropy")
    wrapped.model.fit(*data, epochs=1, callbacks=wrapped.callbacks, verbose=0)
    return wrapped.strip()


@pytest.mark.parametrize("initialization", ["linear", "random", "density", "kmeans++"])
@pytest.mark.parametrize("clusters", [2, 16])
def test_each_kernel_has_as_few_values_as_asked_for(initialization, clusters, data):
    technique = tfopt.WeightClustering(clusters=clusters, initialization=initialization)
    clustered = trained(technique, small_cnn(), data)
    assert 1 < facts.measure(clustered).unique_weights <= clusters


def test_each_channel_has_values_of_its_own(data):
    clustered = trained(tfopt.WeightClustering(clusters=4, per_channel=True), small_cnn(), data)
    kernel = clustered.get_layer("block_conv").kernel.numpy()
    assert all(len(np.unique(channel)) <= 4 for channel in np.moveaxis(kernel, -1, 0))
    assert len(np.unique(kernel)) > 8


def test_the_sparsity_it_finds_is_kept(data):
    model = dense_net()
    kernel = model.get_layer("hidden").kernel
    zeros = np.random.default_rng(0).random(kernel.shape) < 0.6
    kernel.assign(np.where(zeros, 0, kernel.numpy()))
    clustered = trained(tfopt.WeightClustering(clusters=8), model, data)
    after = clustered.get_layer("hidden").kernel.numpy()
    assert (after[zeros] == 0).all()
    assert len(np.unique(after)) <= 8


def test_training_moves_the_values_and_the_same_seed_gives_the_same():
    task, model = tfopt.Task.digits(), small_cnn()
    technique = tfopt.WeightClustering(clusters=4, epochs=0.3, initialization="random")
    first, second = technique.apply(model, task), technique.apply(model, task)
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    start = technique.wrap(model, steps_per_epoch=1).model.get_layer("block_conv").kernel.numpy()
    assert not np.array_equal(start, first.get_layer("block_conv").kernel.numpy())


def test_kernels_too_small_to_share_are_left_alone():
    selection = tfopt.WeightClustering(clusters=100).select(small_cnn())
    reasons = {skip.layer: skip.reason for skip in selection.skipped}
    assert "72 weights, no more than clusters=100" in reasons["stem_conv"]
    assert "block_conv" in selection.touched


def test_a_fake_quantized_model_is_refused(data):
    quantized = trained(tfopt.QuantizationAware(), dense_net(), data)
    with pytest.raises(TechniqueError, match="simulates quantization"):
        tfopt.WeightClustering().select(quantized)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clusters": 1}, "clusters=1; expected .*2"),
        ({"clusters": 2.5}, r"clusters=2\.5"),
        ({"initialization": "kmeans"}, r"'kmeans\+\+' is nearest"),
        ({"per_channel": "no"}, "per_channel='no'; expected True or False"),
        ({"epochs": -1}, "epochs=-1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        tfopt.WeightClustering(**settings)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_is_tf_mots_own(optimizer):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(96, 8)), random.normal(size=(96, 4))
    hidden = tf_keras.layers.Dense(16, activation="relu", input_shape=(8,))
    model = tf_keras.Sequential([hidden, tf_keras.layers.Dense(4)])

    clustering = tfmot.clustering.keras
    theirs = clustering.cluster_weights(clone(model), 6, clustering.CentroidInitialization.LINEAR)
    theirs.compile(optimizer, "mse")
    theirs.fit(x, y, epochs=2, shuffle=False, verbose=0)

    technique = tfopt.WeightClustering(clusters=6, initialization="linear")
    wrapped = technique.wrap(model, steps_per_epoch=3)
    wrapped.model.compile(optimizer, "mse")
    wrapped.model.fit(x, y, epochs=2, shuffle=False, verbose=0)

    stripped = clustering.strip_clustering(theirs)
    for ours, weights in zip(wrapped.strip().get_weights(), stripped.get_weights(), strict=True):
        np.testing.assert_allclose(ours, weights, atol=1e-6)


def test_weights_that_share_fewer_values_go_on_sharing_as_few(data):
    few = trained(tfopt.WeightClustering(clusters=4), dense_net(), data)
    again = trained(tfopt.WeightClustering(clusters=16), few, data)
    assert facts.lost_gains(facts.measure(few), facts.measure(again)) == []
    assert facts.measure(again).unique_weights == 4


def test_a_pruned_channel_without_a_weight_stays_so(data):
    model = small_cnn()
    kernel = model.get_layer("block_conv").kernel
    kernel.assign(np.where(np.arange(16) < 3, 0, kernel.numpy()))
    clustered = trained(tfopt.WeightClustering(clusters=4, per_channel=True), model, data)
    after = clustered.get_layer("block_conv").kernel.numpy()
    assert (after[..., :3] == 0).all()
    assert (after[..., 3:] != 0).any(axis=(0, 1, 2)).all()


def test_what_is_left_alone_or_clustered_whole_is_listed():
    model = depthwise_net()
    kernel = model.get_layer("pointwise_conv").kernel
    kernel.assign(np.where(kernel.numpy() > 0, 0, kernel.numpy()))
    reasons = {
        clusters: {
            skip.layer: skip.reason
            for skip in tfopt.WeightClustering(clusters=clusters, per_channel=True)
            .select(model)
            .skipped
        }
        for clusters in (2, 8)
    }
    assert "depthwise: few weights" in reasons[8]["depthwise"]
    assert reasons[8]["pointwise_conv"] == "8 weights a channel, no more than clusters=8"
    assert "zero takes one of clusters=2" in reasons[2]["pointwise_conv"]
    assert "clustered whole" in reasons[8]["probabilities (per channel)"]


def test_where_centroids_start_is_drawn_with_the_seed_of_the_task():
    technique, model = tfopt.WeightClustering(clusters=4), dense_net()

    def begun(seed):
        wrapped = technique.wrap_for(model, tfopt.Task.digits(seed=seed))
        return wrapped.model.get_layer("hidden").kernel.numpy()

    np.testing.assert_array_equal(begun(1), begun(1))
    assert not np.array_equal(begun(0), begun(1))
    plain = technique.wrap(model, steps_per_epoch=8).model
    np.testing.assert_array_equal(begun(0), plain.get_layer("hidden").kernel.numpy())
