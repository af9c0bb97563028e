import re

import numpy as np
import pytest

import tfopt
from tfopt.errors import SettingError, TechniqueError
from tfopt.factorization.plan import Planner
from tfopt.factorization.rebuild import factorized
from tfopt.graph.cost import model_cost
from tfopt.keras_gate import tf_keras
from tfopt.techniques.low_rank import LowRank
from tfopt.testing import depthwise_net, residual_net, small_cnn

layers = tf_keras.layers


def hard_cases():
    """Strides, dilation, padding, one dimension, a shared layer, a Dense over several axes."""
    image = layers.Input((12, 10, 6))
    x = layers.Conv2D(16, (3, 5), strides=(2, 1), activation="relu", name="strided")(image)
    x = layers.Conv2D(16, 3, dilation_rate=2, padding="same", name="dilated")(x)
    shared = layers.Conv2D(16, 3, padding="same", use_bias=False, name="shared")
    x = shared(shared(x))
    x = layers.Conv2D(24, 1, strides=2, name="pointwise")(x)
    x = layers.Reshape((-1, 24))(x)
    x = layers.Conv1D(24, 3, padding="causal", dilation_rate=2, name="causal")(x)
    x = layers.Dense(24, activation="tanh", name="tokens")(x)
    x = layers.Flatten()(x)
    return tf_keras.Model(image, layers.Dense(10, name="top")(x))


@pytest.mark.parametrize("method", ["spatial", "tucker"])
def test_with_nearly_all_energy_the_function_stays(method):
    model = hard_cases()
    for weight in model.trainable_weights:  # biases too
        weight.assign_add(np.random.default_rng(0).normal(0, 0.1, weight.shape))
    names = [layer.name for layer in model.layers if hasattr(layer, "kernel")]
    planner = Planner(model, method, names)
    every = {name: way for name, way in planner.at(1 - 1e-12).items()}
    assert set(every) == set(names)
    inputs = np.random.default_rng(1).normal(size=(3, 12, 10, 6)).astype("float32")
    expected = model.predict(inputs, verbose=0)
    received = factorized(model, every).predict(inputs, verbose=0)
    np.testing.assert_allclose(received, expected, atol=2e-4 * np.abs(expected).max())


def test_a_kernel_that_began_as_an_array_is_factorized():
    table = tf_keras.initializers.Constant(np.random.default_rng(0).normal(size=(16, 12)))
    wide = layers.Dense(12, kernel_initializer=table, name="wide")
    model = tf_keras.Sequential([layers.Input((16,)), wide])
    smaller = LowRank(parameters=0.3).wrap(model, steps_per_epoch=1).strip()
    again = tf_keras.Sequential.from_config(smaller.get_config())
    assert again.count_params() == smaller.count_params() < model.count_params()


@pytest.mark.parametrize("aim", ["macs", "parameters"])
def test_the_aim_is_reached_and_hardly_passed(aim):
    model = hard_cases()
    smaller = LowRank(**{aim: 0.4}).wrap(model, steps_per_epoch=1).model
    field = {"macs": "macs", "parameters": "weights"}[aim]
    kept = getattr(model_cost(smaller), field) / getattr(model_cost(model), field)
    assert 0.5 < kept <= 0.6


def test_trained_it_keeps_the_accuracy(digits, trained):
    trained_cnn = trained(small_cnn)
    technique = LowRank(macs=0.25, epochs=4)
    smaller = technique.apply(trained_cnn, digits)
    before = tfopt.evaluate(trained_cnn, task=digits).value
    assert tfopt.evaluate(smaller, task=digits).value > before - 0.05  # 359 samples: 0.03 is noise
    tflite = tfopt.convert(smaller, task=digits, target=tfopt.Target.float32())
    whole = tfopt.convert(trained_cnn, task=digits, target=tfopt.Target.float32())
    assert tfopt.inspect(tflite).macs <= 0.75 * tfopt.inspect(whole).macs


def test_all_energy_changes_nothing(digits):
    model = small_cnn()
    same = LowRank(energy=1).apply(model, digits)
    assert [w.tolist() for w in same.get_weights()] == [w.tolist() for w in model.get_weights()]


def test_layers_are_left_alone_with_a_reason():
    model = depthwise_net()
    model.get_layer("pointwise_conv").trainable = False
    reasons = {s.layer: s.reason for s in LowRank(energy=0.9).select(small_cnn()).skipped}
    assert reasons["stem_conv"] == "it has a single channel on one side"
    assert reasons["flatten"] == "no dense layer and no plain convolution"
    with pytest.raises(TechniqueError, match=r"no layer pays with .*energy=0\.999.*ChannelPruning"):
        LowRank(energy=0.999).select(model)


def test_a_constrained_kernel_stays_one_kernel():
    wide = layers.Dense(64, kernel_constraint="non_neg", kernel_initializer="ones", name="wide")
    biased = layers.Dense(64, bias_constraint="non_neg", name="biased")
    model = tf_keras.Sequential([layers.Input((64,)), wide, biased])
    wrapped = LowRank(parameters=0.3).wrap(model, steps_per_epoch=1)
    reasons = {skipped.layer: skipped.reason for skipped in wrapped.selection.skipped}
    assert reasons == {"wide": "its kernel is constrained (NonNeg), which its factors would not be"}
    inputs = np.random.default_rng(0).random((32, 64), np.float32)
    before = wrapped.model.predict(inputs, verbose=0)
    wrapped.model.compile(tf_keras.optimizers.SGD(0.0), "mse")
    wrapped.model.fit(inputs, before, verbose=0)
    np.testing.assert_allclose(wrapped.model.predict(inputs, verbose=0), before, atol=1e-5)


def test_an_aim_out_of_reach_is_refused_before_training():
    told = r"of which \d+\.\d% can be removed.*at most macs=(0\.\d+)\. Fix: lower the aim"
    with pytest.raises(TechniqueError, match=told) as refused:
        LowRank(macs=0.99).select(small_cnn())
    most = float(re.search(told, str(refused.value))[1])
    assert LowRank(macs=most).select(small_cnn()).touched


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one of energy, macs, parameters, max_drop"),
        ({"energy": 0.5, "macs": 0.5}, "exactly one of energy, macs, parameters, max_drop"),
        ({"energy": 1.5}, "a share from 0 to 1"),
        ({"energy": True}, "a share from 0 to 1"),
        ({"energy": 0.5, "method": "spacial"}, "'spatial'"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(SettingError, match=message):
        LowRank(**settings)


def test_the_report_names_the_layers_that_were_really_factorized(trained, digits):
    technique = tfopt.LowRank(macs=0.3, allocation="sensitivity", epochs=0.03)
    model = trained(small_cnn)
    optimized = technique.apply(model, digits)
    changed = technique.changed(model, optimized)
    there = {layer.name for layer in optimized.layers}
    assert changed.touched == tuple(
        layer.name for layer in model.layers if f"{layer.name}_factor1" in there
    )
    left = set(technique.select(model).touched) - set(changed.touched)
    assert left <= {skipped.layer for skipped in changed.skipped}


def test_a_drop_that_allows_nothing_is_refused_by_its_name(trained, digits):
    with pytest.raises(TechniqueError, match="raise max_drop"):
        tfopt.LowRank(max_drop=1e-6, epochs=0.03).apply(trained(small_cnn), digits)


def test_a_factorized_model_can_be_factorized_again(digits):
    model = residual_net()
    first = LowRank(macs=0.2, steps=1)
    once = first.apply(model, digits)
    again = LowRank(macs=0.3, steps=1)
    twice = again.apply(once, digits)
    names = [[layer.name for layer in each.layers] for each in (model, once, twice)]
    assert len(set(names[2])) == len(names[2]) > len(names[1])
    for technique, before, after in ((first, model, once), (again, once, twice)):
        touched = technique.changed(before, after).touched
        new = set(names_of(after)) - set(names_of(before))
        assert touched and set(touched) == {name.rpartition("_factor")[0] for name in new}
    both = set(first.changed(model, once).touched) & set(again.changed(once, twice).touched)
    assert both  # whose factors of the first step are no sign of the second one


def test_two_of_them_in_one_chain_list_what_each_has_factorized(digits):
    steps = [LowRank(macs=0.2, steps=1), LowRank(macs=0.05, steps=1, only=("first_conv",))]
    result = tfopt.optimize(
        residual_net(), steps, task=digits, target=tfopt.Target.int8(refine=False)
    )
    assert result.report.steps[-1].touched == ("first_conv",)


def test_factors_are_called_past_the_names_there_are():
    stack = [
        layers.Input((64,)),
        layers.Dense(64, name="wide"),
        layers.Dense(4, name="wide_factor1"),
    ]
    technique = LowRank(parameters=0.5, only=("wide",))
    smaller = technique.wrap(tf_keras.Sequential(stack), steps_per_epoch=1).model
    assert names_of(smaller)[1:] == ["wide_factor2", "wide", "wide_factor1"]


def names_of(model):
    return [layer.name for layer in model.layers]


@pytest.mark.parametrize("larger_first", [True, False])
@pytest.mark.parametrize("aim", [0.2, 0.5])
def test_a_layer_shared_over_several_sizes_reaches_an_aim(larger_first, aim):
    image = layers.Input((16, 16, 3))
    large = layers.Conv2D(24, 3, padding="same", activation="relu")(image)
    small = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(large)
    head, top = layers.Conv2D(24, 3, padding="same", activation="relu"), layers.Conv2D(6, 1)
    maps = [large, small] if larger_first else [small, large]
    rows = [layers.Reshape((-1, 6))(top(head(x))) for x in maps]
    model = tf_keras.Model(image, layers.Concatenate(axis=1)(rows))
    smaller = LowRank(macs=aim).wrap(model, steps_per_epoch=1).model
    left = model_cost(smaller).macs / model_cost(model).macs
    assert 1 - aim - 0.05 < left <= 1 - aim
