import dataclasses

import numpy as np
import pytest

import tfopt
from tfopt.errors import SettingError
from tfopt.keras_gate import tf_keras
from tfopt.measure.layers import LayerError, compare_layers
from tfopt.techniques.equalize_channels import EqualizeChannels
from tfopt.testing import depthwise_net, residual_net, small_cnn, stress
from tfopt.testing.zoo import MODELS, settle
from tfopt.tflite.file_layers import tensors_by_layer


@pytest.fixture(scope="module")
def residual(digits, trained):
    model = trained(residual_net)
    return model, tfopt.convert(model, task=digits, target=tfopt.Target.int8(refine=False))


def test_every_layer_is_compared_or_fused_into_one_that_is(residual, digits):
    model, tflite = residual
    compared = compare_layers(tflite, model, task=digits)
    assert not compared.missing
    fused = [name for row in compared.layers for name in row.fused]
    assert sorted(fused) == sorted(layer.name for layer in model.layers[1:])
    assert [row.layer for row in compared.layers][:2] == ["stem_relu", "first_relu"]


def test_a_good_file_is_near_the_float_model_at_every_layer(residual, digits):
    model, tflite = residual
    for row in compare_layers(tflite, model, task=digits).layers:
        assert row.sqnr_db > 20 and row.cosine > 0.99, row
        assert row.saturation < 0.01 and row.range_use > 0.2, row


def test_the_softmax_that_training_split_off_is_not_taken_for_its_layer(digits):
    image = tf_keras.Input((8, 8, 1))
    x = tf_keras.layers.Flatten()(image)
    probabilities = tf_keras.layers.Dense(10, activation="softmax", name="top")(x)
    trained = tfopt.QuantizationAware(epochs=1).apply(tf_keras.Model(image, probabilities), digits)
    tflite = tfopt.convert(trained, task=digits, target=tfopt.Target.int8())
    assert [output.name for output in tfopt.inspect(tflite).outputs] == ["top"]
    found = {layer.layer: layer for layer in compare_layers(tflite, trained, task=digits).layers}
    assert (found["top"].op, found["top_softmax"].op) == ("FULLY_CONNECTED", "SOFTMAX")
    assert min(layer.sqnr_db for layer in found.values()) > 20


def test_a_float_file_is_equal(digits):
    model = small_cnn()
    tflite = tfopt.convert(model, task=digits, target=tfopt.Target.float32())
    for row in compare_layers(tflite, model, task=digits).layers:
        assert row.sqnr_db > 90 and row.dtype == "float32"


def test_a_layer_of_several_ops_is_compared_where_its_last_op_ends(digits):
    """A batch norm alone is a product and a sum, a separable convolution two convolutions."""
    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 1))
    plain = layers.Conv2D(8, 3, padding="same", name="plain")(inputs)
    both = layers.Concatenate(name="both")([inputs, plain])
    x = layers.ReLU(name="active")(layers.BatchNormalization(name="norm")(both))
    x = layers.SeparableConv2D(9, 3, padding="same", use_bias=False, name="separable")(x)
    x = layers.BatchNormalization(name="after")(x)
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = tf_keras.Model(inputs, outputs)
    settle(model)

    tflite = tfopt.convert(model, task=digits, target=tfopt.Target.float32())
    compared = {row.layer: row for row in compare_layers(tflite, model, task=digits).layers}
    assert compared["active"].fused == ("norm", "active")
    assert compared["after"].fused == ("separable", "after")
    assert min(row.sqnr_db for row in compared.values()) > 90


def test_a_layer_whose_channels_differ_in_range_is_the_worst_and_gets_advice(digits, trained):
    model = tf_keras.models.clone_model(trained(depthwise_net))
    model.set_weights(trained(depthwise_net).get_weights())
    gamma, beta, *rest = model.get_layer("stem_bn").get_weights()
    gamma[0], beta[0] = 500 * gamma[0], 500 * beta[0]
    model.get_layer("stem_bn").set_weights([gamma, beta, *rest])
    target = tfopt.Target.int8(refine=False)
    tflite = tfopt.convert(model, task=digits, target=target)
    worst = compare_layers(tflite, model, task=digits).worst_first
    uneven = {row.layer: row.unevenness for row in worst}
    assert uneven["stem_relu"] > 50
    told = str(compare_layers(tflite, model, task=digits))
    assert "SQNR" in told and "64 samples" in told


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"lost_db": 1.0}, ""),
        ({"sqnr_db": 40.0}, ""),
        ({"saturation": 0.1}, "clipped"),
        ({"unevenness": 99.0}, "99 times in range: EqualizeChannels"),
        ({"range_use": 0.1}, "outliers"),
        ({}, "keep_int16=('conv',)"),
        ({"dtype": "int16"}, "keep_float=('conv',)"),
    ],
)
def test_advice_names_what_is_wrong(changes, advice):
    row = LayerError(
        layer="relu", fused=("conv", "relu"), kind="ReLU", op="CONV_2D", dtype="int8",
        sqnr_db=10.0, lost_db=20.0, cosine=0.9, mse=1.0, range_use=0.9, saturation=0.0,
        unevenness=2.0,
    )  # fmt: skip
    told = dataclasses.replace(row, **changes).advice
    assert advice in told and bool(advice) == bool(told)


def test_a_file_of_another_model_is_refused(digits, float_file):
    other = tf_keras.Sequential([tf_keras.Input((8, 8, 1)), tf_keras.layers.Flatten(name="other")])
    with pytest.raises(SettingError, match=r"no layer of model .* is found.*that was converted"):
        compare_layers(float_file, other, task=digits)


def test_streams_of_many_samples_are_cut_into_batches(residual, digits):
    model, tflite = residual
    compared = compare_layers(tflite, model, task=digits, samples=150)
    assert compared.samples == 150
    assert np.isfinite([row.mse for row in compared.layers]).all()


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_an_equalized_model_is_compared_on_its_own_scales(digits, trained):
    model = stress(trained(depthwise_net))
    equalized = EqualizeChannels().apply(model, digits)
    target = tfopt.Target.int8(refine=False)
    plain, good = (tfopt.convert(one, task=digits, target=target) for one in (model, equalized))
    compared = compare_layers(good, model, task=digits)
    assert any(row.rescaled for row in compared.layers)
    assert all(row.sqnr_db > 20 for row in compared.layers), compared
    assert "Compared up to the scales of their channels: stem_relu" in str(compared)
    assert not any(row.rescaled for row in compare_layers(plain, model, task=digits).layers)
    assert min(row.sqnr_db for row in compare_layers(plain, model, task=digits).layers) < 15


@pytest.mark.parametrize("name", ["text_lstm", "conv_lstm"])
def test_each_layer_of_an_unrolled_loop_is_held_against_layers_that_are_compared(name):
    entry = next(entry for entry in MODELS if entry.name == name)
    model = entry.build(tf_keras)
    task = entry.task(model, samples=16)
    tflite = tfopt.convert(model, task=task, target=tfopt.Target.int8(refine=False))
    inspection = tfopt.inspect(tflite)
    known = {tensor.index for tensor in inspection.inputs}
    for match in tensors_by_layer(inspection, model).values():
        assert set(match.inputs) <= known, match
        known.add(match.tensor.index)
    assert compare_layers(tflite, model, task=task, samples=16).layers
