"""A file that computes something else than its model is told, by the layer where it begins."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfopt.errors import ConversionError
from tfopt.keras_gate import tf_keras
from tfopt.target import Target
from tfopt.task import Task
from tfopt.tflite import convert as converting
from tfopt.tflite import likeness, proof
from tfopt.tflite.convert import convert
from tfopt.tflite.likeness import InexactFileWarning
from tfopt.tflite.rewrites import table

layers = tf_keras.layers


def model_of(*over):
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([layers.Input((8,)), *over])


def task_for(model, count=24):
    x = np.random.default_rng(0).uniform(-1, 1, (count, 8)).astype(np.float32)
    y = np.asarray(model(x))
    return Task.from_arrays((x, y), (x, y), loss="mse", metric="mse")


def real(numerics):
    return getattr(Target, numerics)(input_type="float32", output_type="float32")


@pytest.mark.parametrize("numerics", ["int8", "int16x8"])
def test_a_good_file_needs_no_word(numerics):
    model = model_of(layers.Dense(6, "relu"), layers.Dense(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(model, task=task_for(model), target=real(numerics))


def test_a_sum_cut_off_is_told_by_its_layer(monkeypatch):
    monkeypatch.setattr(table, "WIDE", table.INTEGER)  # the converter's own 16-bit sums
    model = model_of(layers.Dense(8), layers.UnitNormalization(name="unit"))
    with pytest.warns(InexactFileWarning, match="int16x8 file is off by .*'unit' is the first"):
        convert(model, task=task_for(model), target=real("int16x8"))


def test_a_layer_that_is_called_twice_is_passed_over(monkeypatch):
    monkeypatch.setattr(table, "WIDE", table.INTEGER)
    shared, inputs = layers.Dense(8), layers.Input((8,))
    unit = layers.UnitNormalization(name="unit")(shared(shared(inputs)))
    model = tf_keras.Model(inputs, unit)
    with pytest.warns(InexactFileWarning, match="'unit' is the first"):
        convert(model, task=task_for(model), target=real("int16x8"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(np.full_like, "holds infinities"), (np.zeros_like, "is the same for every")],
)
def test_a_file_of_no_use_is_refused(monkeypatch, spoil, said):
    model = model_of(layers.Dense(3, name="last"))

    def runs(*args):
        found = check_runs(*args)
        return [spoil(x, np.nan) if spoil is np.full_like else spoil(x) for x in found]

    check_runs = proof.check_runs
    monkeypatch.setattr(converting.proof, "check_runs", runs)
    with pytest.raises(ConversionError, match=f"whose output 'last' {said}") as caught:
        convert(model, task=task_for(model), target=real("int16x8"))
    assert "representative samples" in caught.value.fix


def test_outputs_that_hardly_vary_may_be_constant_in_8_bits():
    model = model_of(layers.Dense(3, kernel_initializer=tf_keras.initializers.Constant(1e-4),
                                  bias_initializer="ones"))  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(model, task=task_for(model), target=real("int8"))


def test_a_badly_quantized_model_is_converted_all_the_same():
    model = model_of(layers.Dense(8, use_bias=False), layers.Dense(8, use_bias=False))
    wide = np.diag(np.r_[3e4, np.ones(7)])  # one channel takes the whole range of 8 bits
    model.set_weights([wide, np.diag(np.r_[0.0, np.ones(7)])])
    with pytest.warns(InexactFileWarning, match="is the same for every input, is off by 100%"):
        assert convert(model, task=task_for(model), target=real("int8"))


def test_what_tensorflow_cannot_run_is_not_compared():
    target = real("int8")

    class Cannot:
        structured_input_signature = (((tf.TensorSpec([1, 8])),), {})

        def __call__(self, *args):
            raise tf.errors.UnimplementedError(None, None, "grouped convolution")

    traced = type("Traced", (), {"function": Cannot(), "outputs": ("a",)})
    told = likeness.check(
        b"", [], [np.zeros((1, 8), np.float32)], traced=traced, target=target, inspection=None
    )
    assert "not compared" in told and "grouped convolution" in told
