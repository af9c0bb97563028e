"""Equalized models compute the same, and keep their accuracy in 8 bits."""

import numpy as np
import pytest

from tfopt.errors import SettingError, TechniqueError
from tfopt.graph.equality import prove_same
from tfopt.keras_gate import clone, tf_keras
from tfopt.quantization.grid import round_kernel
from tfopt.target import Target
from tfopt.techniques.equalize_channels import EqualizeChannels
from tfopt.testing import depthwise_net, residual_net, small_cnn, stress
from tfopt.tflite.convert import convert
from tfopt.tflite.inspect import inspect
from tfopt.tflite.interpreter import TFLiteModel

layers = tf_keras.layers


@pytest.fixture(scope="module")
def task(digits):
    return digits


@pytest.fixture(scope="module")
def net(trained):
    return trained(depthwise_net)


@pytest.fixture(scope="module")
def stressed(net):
    return stress(net)


def accuracy(model, task):
    x, y = (
        np.concatenate([getattr(s, side) for s in (task.validation, task.test)]) for side in "xy"
    )
    if isinstance(model, bytes):
        (outputs,) = TFLiteModel(model).predict(x)
    else:
        outputs = model.predict(x, verbose=0)
    return np.mean(outputs.argmax(1) == y)


def int8(model, task):
    return convert(model, task=task, target=Target.int8())


def test_plain_int8_collapses_and_equalized_int8_does_not(net, stressed, task):
    wanted = accuracy(net, task)
    assert accuracy(stressed, task) == pytest.approx(wanted, abs=0.002)
    assert accuracy(int8(stressed, task), task) < wanted - 0.3
    for ranges in ("activations", "weights"):
        equalized = EqualizeChannels(ranges=ranges).apply(stressed, task)
        prove_same(net, equalized, task.test.x)
        tflite = int8(equalized, task)
        assert inspect(tflite).integer_only
        assert accuracy(tflite, task) >= wanted - 0.01


def test_the_limits_of_stressed_channels_become_relu6_again(net, stressed, task):
    equalized = EqualizeChannels().apply(stressed, task)
    relu6 = equalized.get_layer("depthwise_relu")
    assert relu6.max_value == pytest.approx(6)
    assert any("minimum" in layer.name for layer in stressed.layers)
    assert not any("minimum" in layer.name for layer in equalized.layers)


def test_residual_channels_are_equalized_together(trained, task):
    model = trained(residual_net)
    stressed = stress(model)
    wanted = accuracy(model, task)
    assert accuracy(int8(stressed, task), task) < wanted - 0.1
    equalized = EqualizeChannels().apply(stressed, task)
    assert accuracy(int8(equalized, task), task) >= wanted - 0.01


def test_equalizing_twice_changes_nothing_more(stressed, task):
    once = EqualizeChannels().apply(stressed, task)
    twice = EqualizeChannels().apply(once, task)
    for ours, theirs in zip(once.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=1e-4)


def test_relu6_stays_unless_the_change_is_allowed(net, task):
    net = clone(net)
    gamma = net.get_layer("depthwise_bn").gamma
    gamma.assign(1.5 * gamma)
    kept = EqualizeChannels().apply(net, task)
    assert kept.get_layer("depthwise_relu").max_value == 6
    assert EqualizeChannels().select(net).touched[-1] == "probabilities"
    with pytest.raises(TechniqueError, match=r"outputs change by .* with ReLU for ReLU6"):
        EqualizeChannels(relu6_tolerance=1e-9).apply(net, task)
    replaced = EqualizeChannels(relu6_tolerance=0.99).apply(net, task)
    assert replaced.get_layer("depthwise_relu").max_value is None


def test_a_relu6_that_alone_ties_a_model_is_left_with_the_reason(task):
    model = tf_keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, name="first"),
            layers.ReLU(6.0),
            layers.Conv2D(4, 3, name="second"),
        ]
    )
    with pytest.raises(TechniqueError, match="cut off at one value by ReLU6"):
        EqualizeChannels().select(model)
    touched = EqualizeChannels(relu6_tolerance=0.1).select(model).touched
    assert {"first", "second"} <= set(touched)


def test_dead_channels_and_a_variance_of_zero(task):
    tf_keras.utils.set_random_seed(0)
    model = small_cnn()
    kernel, norm = model.get_layer("stem_conv").kernel, model.get_layer("stem_bn")
    value = kernel.numpy()
    value[..., 0] = 0  # made of nothing
    kernel.assign(value)
    norm.beta.assign([0.0, -50.0, 0.5, 0, 0, 0, 0, 0])  # and one that never gets through the ReLU
    norm.moving_variance.assign([0.0, 1, 0, 1, 1, 1, 1, 1])
    value = model.get_layer("block_conv").kernel.numpy()
    value[:, :, 3] = 0  # read by nothing
    model.get_layer("block_conv").kernel.assign(value)
    for ranges in ("activations", "weights"):
        equalized = EqualizeChannels(ranges=ranges).apply(stress(model), task)
        assert all(np.isfinite(weight).all() for weight in equalized.get_weights())
        prove_same(model, equalized, task.test.x)
        convert(equalized, task=task, target=Target.int8())


def test_layers_left_out_keep_their_weights(net, task):
    technique = EqualizeChannels(skip=("pointwise_conv",))
    selection = technique.select(net)
    reasons = {skip.layer: skip.reason for skip in selection.skipped}
    assert reasons["pointwise_conv"] == "excluded by the settings"
    assert "stem_conv" in selection.touched and "stem_bn" in selection.touched
    frozen = clone(net)
    frozen.get_layer("stem_conv").trainable = False
    with pytest.raises(TechniqueError, match="can rescale no channels"):
        EqualizeChannels(skip=("probabilities",)).select(frozen)


def test_training_on_after_it_changes_no_constrained_kernel(task):
    tf_keras.utils.set_random_seed(0)
    bound = {"kernel_constraint": tf_keras.constraints.MaxNorm(1.0), "padding": "same"}
    stem = [layers.Conv2D(8, 3, **bound, name="bound"), layers.BatchNormalization(name="norm")]
    rest = [layers.Conv2D(8, 3, activation="relu", name=name) for name in ("first", "second")]
    top = [layers.Flatten(), layers.Dense(10, activation="softmax", name="top")]
    model = tf_keras.Sequential([layers.Input((8, 8, 1)), *stem, layers.ReLU(), *rest, *top])
    model.get_layer("norm").gamma.assign(np.geomspace(0.1, 10, 8))
    selection = EqualizeChannels().select(model)
    assert selection.touched == ("first", "second", "top")
    reasons = {skipped.layer: skipped.reason for skipped in selection.skipped}
    assert "its weights are constrained (MaxNorm)" in reasons["bound"]
    equalized = EqualizeChannels().apply(model, task)
    x, y = task.train.x[:64], task.train.y[:64]
    before = equalized.predict(x, verbose=0)
    equalized.get_layer("norm").trainable = False
    equalized.compile(tf_keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    equalized.fit(x, y, verbose=0)
    np.testing.assert_allclose(equalized.predict(x, verbose=0), before, atol=1e-5)


def test_a_net_without_kernels_is_refused_layer_by_layer():
    model = tf_keras.Sequential([layers.Input((4, 4, 2)), layers.ReLU(name="relu")])
    with pytest.raises(TechniqueError, match=r"rescale no channels \(relu: has no kernel\)"):
        EqualizeChannels().select(model)


def test_biases_can_be_absorbed(net, task):
    absorbed = EqualizeChannels(absorb_biases=True).apply(net, task)
    x = task.representative_inputs(256)
    expected, received = (model.predict(x, verbose=0) for model in (net, absorbed))
    np.testing.assert_allclose(expected, received, atol=1e-4)


def test_clustered_and_fake_quantized_models_are_refused(net, task):
    clustered = clone(net)
    for name in ("pointwise_conv", "probabilities"):
        kernel = clustered.get_layer(name).kernel
        kernel.assign(round_kernel(kernel, (), bits=4))
    with pytest.raises(TechniqueError, match="few different weights in pointwise_conv"):
        EqualizeChannels().select(clustered)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ranges": "activation"}, "'activations' is nearest"),
        ({"relu6_tolerance": 2}, "0 <= relu6_tolerance < 1"),
        ({"absorb_biases": 1}, "True or False"),
        ({"skip": "conv"}, "a tuple of layer names"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(SettingError, match=message):
        EqualizeChannels(**settings)


def test_a_model_that_computes_no_numbers_is_refused(task):
    model = small_cnn()
    kernel = model.get_layer("block_conv").kernel
    kernel.assign(np.full(kernel.shape, 1e38))
    told = r"'.*', which reads numbers that are not finite"
    for ranges in ("activations", "weights"):
        with np.errstate(over="ignore"), pytest.raises(TechniqueError, match=told):
            EqualizeChannels(ranges=ranges).apply(model, task)
