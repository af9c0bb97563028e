"""Pruning reaches the sparsity it is asked for, in the pattern asked for, or fails."""

import numpy as np
import pytest

import tfopt
from tfopt import facts
from tfopt.errors import SettingError, TechniqueError
from tfopt.keras_gate import tf_keras
from tfopt.testing import dense_net, depthwise_net, small_cnn

layers = tf_keras.layers


@pytest.fixture(scope="module")
def data():
    x, y = next(tfopt.Task.digits().train.batches(256))
    return x, y


def trained(technique, model, data, *, epochs=None, steps_per_epoch=8):
    """A user's own loop: wrap, compile, fit, strip."""
    wrapped = technique.wrap(model, steps_per_epoch=steps_per_epoch)
    wrapped.model.compile("adam", "sparse_categorical_crossentropy")
    epochs = int(technique.epochs) if epochs is None else epochs
    if epochs:
        wrapped.model.fit(*data, epochs=epochs, callbacks=wrapped.callbacks, verbose=0)
    return wrapped.strip()


@pytest.mark.parametrize("schedule", ["polynomial", "constant"])
@pytest.mark.parametrize("sparsity", [0.3, 0.8, 0.99])
def test_every_kernel_reaches_the_sparsity_in_a_few_steps(schedule, sparsity, data):
    technique = tfopt.MagnitudePruning(sparsity=sparsity, schedule=schedule, epochs=1)
    pruned = trained(technique, small_cnn(), data)
    for kernel in facts.measure(pruned).kernels:
        weights = np.prod(kernel.shape)
        assert kernel.sparsity >= sparsity - 1 / weights, kernel


def test_the_masks_are_updated_no_more_often_than_needed():
    technique = tfopt.MagnitudePruning(sparsity=0.5, epochs=10)
    schedule = technique._fitted_schedule(1000)
    steps = np.arange(1, 10_001)
    due, shares = (value.numpy() for value in schedule(steps))
    assert 10 <= due.sum() <= 22
    assert shares[due][-1] == 0.5
    assert steps[due][-1] < 0.8 * 10_000


def test_two_of_four_weights_along_the_input_channels(data):
    technique = tfopt.MagnitudePruning(sparsity=0.5, m_by_n=(2, 4), epochs=1)
    pruned = trained(technique, dense_net(), data)
    kernel = pruned.get_layer("hidden").kernel.numpy()
    groups = kernel.T.reshape(kernel.shape[1], -1, 4)
    assert (np.count_nonzero(groups, axis=2) <= 2).all()
    assert np.count_nonzero(kernel) == kernel.size // 2


def test_blocks_are_zero_as_a_whole(data):
    technique = tfopt.MagnitudePruning(sparsity=0.5, block=(4, 8), epochs=1)
    pruned = trained(technique, dense_net(), data)
    kernel = pruned.get_layer("hidden").kernel.numpy()
    blocks = kernel.reshape(16, 4, 4, 8).swapaxes(1, 2).reshape(-1, 32)
    zeros = np.count_nonzero(blocks == 0, axis=1)
    assert set(zeros) == {0, 32}
    assert (zeros == 32).mean() >= 0.5


def test_blocks_do_not_fit_convolutions():
    selection = tfopt.MagnitudePruning(sparsity=0.5, block=(1, 4)).select(small_cnn())
    reasons = {skip.layer: skip.reason for skip in selection.skipped}
    assert "blocks of (1, 4) need two dimensions" in reasons["stem_conv"]
    assert selection.touched == ("probabilities",)


def test_training_too_short_fails_in_strip(data):
    technique = tfopt.MagnitudePruning(sparsity=0.8, epochs=4)
    with pytest.raises(TechniqueError, match=r"stood at step 8 of [12]\d.*sparsity 0\.8"):
        trained(technique, small_cnn(), data, epochs=1)


def test_a_loop_that_updates_no_masks_fails_in_strip():
    technique = tfopt.MagnitudePruning(sparsity=0.8, epochs=1)
    with pytest.raises(TechniqueError, match="stood at step 0"):
        trained(technique, small_cnn(), None, epochs=0)


def test_too_few_steps_are_refused_before_training():
    with pytest.raises(SettingError, match=r"1 training step.*at least 2 steps.*epochs=0\.25"):
        tfopt.MagnitudePruning(sparsity=0.5, epochs=0.1).wrap(small_cnn(), steps_per_epoch=8)
    with pytest.raises(SettingError, match=r"Received steps=1; .*use steps=2 or more"):
        tfopt.MagnitudePruning(sparsity=0.5, steps=1).wrap(small_cnn(), steps_per_epoch=8)


def test_no_sparsity_changes_nothing():
    task, model = tfopt.Task.digits(), small_cnn()
    same = tfopt.MagnitudePruning(sparsity=0).apply(model, task)
    for ours, theirs in zip(same.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert same is not model


def test_frozen_layers_stay_as_they_are(data):
    model = small_cnn()
    model.get_layer("stem_conv").trainable = False
    technique = tfopt.MagnitudePruning(sparsity=0.5, epochs=1)
    reasons = {skip.layer: skip.reason for skip in technique.select(model).skipped}
    assert "frozen" in reasons["stem_conv"]
    pruned = trained(technique, model, data)
    np.testing.assert_array_equal(
        pruned.get_layer("stem_conv").kernel, model.get_layer("stem_conv").kernel
    )
    assert not pruned.get_layer("stem_conv").trainable


def test_depthwise_kernels_are_pruned_only_by_name(data):
    selection = tfopt.MagnitudePruning(sparsity=0.5).select(depthwise_net())
    assert "depthwise" not in selection.touched
    named = tfopt.MagnitudePruning(sparsity=0.5, only=("depthwise",), epochs=1)
    pruned = trained(named, depthwise_net(), data)
    assert facts.measure(pruned).kernels[1].sparsity >= 0.48


def test_kernels_inside_other_layers_are_pruned(data):
    x, y = data
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8)),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both"),
            layers.TimeDistributed(layers.Dense(6), name="each"),
            layers.GRU(5, name="gru"),
            layers.Dense(10, activation="softmax", name="top"),
        ]
    )
    technique = tfopt.MagnitudePruning(sparsity=0.5, epochs=1)
    assert set(technique.select(model).touched) == {"both", "each", "gru", "top"}
    pruned = trained(technique, model, (x[..., 0], y))
    assert all(kernel.sparsity > 0.48 for kernel in facts.measure(pruned).kernels)


def test_clustered_and_fake_quantized_models_are_refused(data):
    pruning = tfopt.MagnitudePruning(sparsity=0.5)
    clustered = trained(tfopt.WeightClustering(clusters=4), dense_net(), data, epochs=1)
    with pytest.raises(TechniqueError, match=r"share few values.*MagnitudePruning"):
        pruning.select(clustered)
    quantized = trained(tfopt.QuantizationAware(), dense_net(), data, epochs=1)
    with pytest.raises(TechniqueError, match="simulates quantization"):
        pruning.select(quantized)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity=1\.0; expected 0 <= sparsity < 1"),
        ({"sparsity": -0.1}, r"sparsity=-0\.1"),
        ({"sparsity": False}, "sparsity=False; expected 0 <= sparsity < 1"),
        ({"initial_sparsity": 0.9}, r"initial_sparsity=0\.9 above sparsity=0\.5"),
        ({"initial_sparsity": 0.3, "schedule": "constant"}, r"=0\.3 with schedule='constant'"),
        ({"initial_sparsity": 0.3, "m_by_n": (2, 4)}, r"=0\.3 with m_by_n=\(2, 4\)"),
        ({"schedule": "poly"}, "expected one of constant, polynomial"),
        ({"block_pooling": "min"}, "block_pooling='min'"),
        ({"block": (0, 4)}, r"block=\(0, 4\)"),
        ({"m_by_n": (4, 2)}, r"m_by_n=\(4, 2\); expected two integers"),
        ({"m_by_n": (1, 4)}, r"sparsity=0\.5 with m_by_n=\(1, 4\); expected sparsity=0\.25"),
        ({"m_by_n": (2, 4), "block": (1, 4)}, "together with block"),
        ({"epochs": 0}, "epochs=0; expected a number above 0"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"only": "stem"}, r"only='stem'; expected a tuple"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        tfopt.MagnitudePruning(**{"sparsity": 0.5} | settings)


def test_unknown_layer_names_are_refused():
    with pytest.raises(SettingError, match=r"no layer 'stem_cnv'.*'stem_conv' is nearest"):
        tfopt.MagnitudePruning(skip=("stem_cnv",)).select(small_cnn())


def test_a_user_of_the_wrapper_is_told_what_was_left_alone():
    wrapped = tfopt.MagnitudePruning(sparsity=0.5).wrap(small_cnn(), steps_per_epoch=8)
    assert wrapped.selection.touched == ("stem_conv", "block_conv", "probabilities")
    assert {skip.layer for skip in wrapped.selection.skipped} >= {"stem_bn", "flatten"}


def test_weights_restored_from_before_are_masked_with_a_warning(data):
    wrapped = tfopt.MagnitudePruning(sparsity=0.5, epochs=1).wrap(small_cnn(), steps_per_epoch=8)
    wrapped.model.compile("adam", "sparse_categorical_crossentropy")
    wrapped.model.fit(*data, verbose=0)
    wrapped.model.get_layer("block_conv").kernel.assign(np.ones((3, 3, 8, 16)))
    with pytest.warns(UserWarning, match="576 pruned weights were set again"):
        pruned = wrapped.strip()
    assert facts.measure(pruned).kernels[1].sparsity == 0.5
