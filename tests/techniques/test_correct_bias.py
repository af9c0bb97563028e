"""Corrected biases bring back what rounding takes, and nothing else is changed."""

import numpy as np
import pytest

from tfopt.errors import DataError, SettingError, TechniqueError
from tfopt.keras_gate import clone, tf_keras
from tfopt.quantization.grid import CHANNEL_AXES, round_kernel
from tfopt.task import Task
from tfopt.techniques.correct_bias import CorrectBias
from tfopt.techniques.equalize_channels import EqualizeChannels
from tfopt.techniques.quantization_aware import QuantizationAware
from tfopt.techniques.round_weights import RoundWeights
from tfopt.testing import depthwise_net, small_cnn

layers = tf_keras.layers


@pytest.fixture(scope="module")
def task(digits):
    return digits


@pytest.fixture(scope="module")
def net(trained):
    return trained(depthwise_net)


def rounded(model, bits):
    """The model with its kernels on the grid."""
    model = clone(model)
    for layer in model.layers:
        for name, axes in CHANNEL_AXES.get(type(layer), {}).items():
            kernel = getattr(layer, name)
            kernel.assign(round_kernel(kernel, axes, bits=bits))
    return model


def unseen(task):
    return (
        np.concatenate([getattr(s, side) for s in (task.validation, task.test)]) for side in "xy"
    )


def accuracy(model, task):
    x, y = unseen(task)
    return np.mean(model.predict(x, verbose=0).argmax(1) == y)


def error(model, other, task):
    x, _ = unseen(task)
    return np.mean((model.predict(x, verbose=0) - other.predict(x, verbose=0)) ** 2)


def test_four_bits_lose_less(net, task):
    corrected = CorrectBias(bits=4).apply(net, task)
    plain = rounded(net, 4)
    better = rounded(corrected, 4)
    assert error(net, better, task) < error(net, plain, task) / 2
    assert accuracy(better, task) >= accuracy(plain, task) + 0.01


def test_it_goes_with_equalized_channels(net, task):
    equalized = EqualizeChannels().apply(net, task)
    corrected = CorrectBias(bits=4).apply(equalized, task)
    after, before = rounded(corrected, 4), rounded(equalized, 4)
    assert error(net, after, task) < error(net, before, task)


@pytest.mark.parametrize("method", ["empirical", "analytic"])
def test_only_biases_change(net, task, method):
    corrected = CorrectBias(bits=4, method=method).apply(net, task)
    for layer in net.layers:
        other = corrected.get_layer(layer.name)
        ours = {weight.name.split("/")[-1]: weight.numpy() for weight in layer.weights}
        theirs = {weight.name.split("/")[-1]: weight.numpy() for weight in other.weights}
        for name, value in ours.items():
            if name != "bias:0":
                np.testing.assert_array_equal(theirs[name], value)
    touched = CorrectBias(bits=4, method=method).select(net).touched
    assert all(np.abs(corrected.get_layer(name).bias).max() > 0 for name in touched)


def test_means_of_every_layer_are_those_of_the_float_model(net, task):
    """With its own samples, in front of each activation, all corrections before it in place."""
    corrected = rounded(CorrectBias(bits=4, samples=64).apply(net, task), 4)
    x = task.representative_inputs(64)
    for name in ("stem_bn", "depthwise_bn", "pointwise_bn"):
        means = [
            tf_keras.Model(model.input, model.get_layer(name).output)
            .predict(x, verbose=0)
            .mean((0, 1, 2))
            for model in (net, corrected)
        ]
        np.testing.assert_allclose(*means, atol=1e-4)


def test_without_data_from_batch_norms_where_there_are(net, task):
    technique = CorrectBias(bits=4, method="analytic")
    selection = technique.select(net)
    assert selection.touched == ("depthwise", "pointwise_conv", "probabilities")
    reasons = {skip.layer: skip.reason for skip in selection.skipped}
    assert "no batch norm tells" in reasons["stem_conv"]
    with pytest.raises(TechniqueError, match="no batch norm tells"):
        technique.select(EqualizeChannels().apply(net, task))


def test_the_analytic_shift_is_what_constant_inputs_show(task):
    """Behind a batch norm without spread, the mean is the input itself."""
    for layer in (
        layers.Conv2D(4, 3, groups=2, use_bias=False, name="x"),
        layers.Conv2DTranspose(3, 2, strides=2, name="x"),
        layers.SeparableConv2D(3, 2, depth_multiplier=2, name="x"),
        layers.DepthwiseConv2D(2, name="x"),
    ):
        norm = layers.BatchNormalization(name="norm")
        first = layers.Conv2D(4, 1, name="first")
        model = tf_keras.Sequential([layers.Input((8, 8, 1)), first, norm, layers.ReLU(), layer])
        norm.gamma.assign(np.zeros(4))
        norm.beta.assign([1.0, 2.0, 0.5, 0.1])
        corrected = CorrectBias(bits=4, method="analytic", only=("x",)).apply(model, task)
        image = np.ones((1, 8, 8, 1), np.float32)
        expected = model.predict(image, verbose=0).mean((0, 1, 2))
        received = rounded(corrected, 4).predict(image, verbose=0).mean((0, 1, 2))
        np.testing.assert_allclose(received, expected, atol=1e-5)


def test_shared_and_frozen_layers_are_skipped_by_name(task):
    image = layers.Input((8, 8, 1))
    shared = layers.Conv2D(1, 3, padding="same", name="shared")
    frozen = layers.Conv2D(2, 3, name="frozen", trainable=False)
    x = layers.Flatten(name="flat")(frozen(shared(shared(image))))
    model = tf_keras.Model(image, layers.Dense(10, "relu", use_bias=False, name="top")(x))
    technique = CorrectBias(bits=4)
    reasons = {skip.layer: skip.reason for skip in technique.select(model).skipped}
    assert reasons["shared"].startswith("called several times")
    assert reasons["frozen"].startswith("frozen")
    corrected = technique.apply(model, task)
    assert corrected.get_layer("top").use_bias
    assert corrected.get_layer("top").activation.__name__ == "relu"


def test_dead_channels_stay_dead(task):
    model = small_cnn()
    kernel = model.get_layer("stem_conv").kernel
    kernel.assign(np.zeros(kernel.shape))
    corrected = CorrectBias(bits=4).apply(model, task)
    np.testing.assert_array_equal(corrected.get_layer("stem_conv").bias, np.zeros(8))


def with_representative(samples):
    y = np.zeros(len(samples), np.int64)
    zeros = np.zeros(samples.shape, np.float32)
    return Task.from_arrays(
        (zeros, y), (zeros, y), loss="sparse_categorical_crossentropy", representative=samples
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "a single representative sample"), (5, "5 representative samples that are all the same")],
)
def test_samples_that_are_all_the_same_are_refused(count, text):
    with pytest.raises(DataError, match=text):
        CorrectBias().apply(small_cnn(), with_representative(np.ones((count, 8, 8, 1), "float32")))


def test_a_model_that_computes_no_numbers_is_refused(task):
    model = small_cnn()
    kernel = model.get_layer("block_conv").kernel
    kernel.assign(np.full(kernel.shape, 3e38))
    with pytest.raises(TechniqueError, match="'probabilities', which computes numbers that are n"):
        CorrectBias().apply(model, task)


def test_fake_quantized_models_are_refused(net, task):
    fake = QuantizationAware(epochs=0.1).apply(net, task)
    for technique in (CorrectBias(), EqualizeChannels()):
        with pytest.raises(TechniqueError, match=f"simulates quantization, for {technique.name}"):
            technique.select(fake)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "empiric"}, "'empirical' is nearest"),
        ({"bits": 3}, "8 or 4"),
        ({"samples": 1}, "at least 2"),
        ({"only": "conv"}, "a tuple of layer names"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(SettingError, match=message):
        CorrectBias(**settings)


def test_weights_on_the_grid_of_the_file_leave_nothing_to_correct(task):
    rounded = RoundWeights(method="nearest").apply(small_cnn(), task)
    with pytest.raises(TechniqueError, match="stand on the grid of the file"):
        CorrectBias().select(rounded)
