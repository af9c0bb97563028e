"""Clustering leaves as few different weights as it is asked for, and keeps zeros."""

import numpy as np
import pytest

import tfopt
from tfopt import facts
from tfopt.errors import SettingError, TechniqueError
from tfopt.testing import dense_net, small_cnn


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
        ({"epochs": -1}, "epochs=-1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        tfopt.WeightClustering(**settings)
