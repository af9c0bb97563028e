"""Ranges of activations: calibrated, moved on in training, and refused where they cannot be."""

import numpy as np
import pytest

from tfopt.errors import DataError, TechniqueError
from tfopt.keras_gate import clone, tf_keras
from tfopt.quantization.ranges import RunningRange, calibrate, model_batches, quantize_layer

layers = tf_keras.layers


def state(layer):
    return tuple(float(layer.quantizer_vars[part]) for part in ("min", "max", "batches"))


def range_model():
    layer = quantize_layer(RunningRange(), "range")
    x = layers.Input((4,), name="x")
    return tf_keras.Model(x, layer(x)), layer


def test_the_range_is_the_mean_of_the_batches():
    model, layer = range_model()
    for low, high in ((-1.0, 3.0), (-2.0, 5.0), (0.5, 1.0)):
        model(np.array([[low, high, 0.6, 0.7]]), training=True)
    assert state(layer) == pytest.approx((-1.0, 3.0, 3.0))


def test_only_training_moves_the_range():
    model, layer = range_model()
    model(np.full((2, 4), 9.0), training=False)
    assert state(layer) == (0, 0, 0)


def test_the_first_batch_is_rounded_with_its_own_range():
    model, _ = range_model()
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32) * 40
    rounded = model(x, training=True).numpy()
    assert np.abs(rounded - x).max() <= 0.51 * (x.max() - x.min()) / 255


def test_after_many_batches_it_is_a_moving_average():
    model, layer = range_model()
    layer.quantizer_vars["batches"].assign(10_000.0)
    model(np.full((1, 4), 1.0), training=True)
    assert state(layer)[1] == pytest.approx(0.001)


def test_a_model_with_ranges_can_be_cloned():
    model, layer = range_model()
    layer.quantizer_vars["max"].assign(2.0)
    assert clone(model)(np.full((1, 4), 3.0)).numpy().max() == 2.0


@pytest.fixture
def net():
    x = layers.Input((4,), name="x")
    doubled = layers.Rescaling(2.0, name="doubled")(x)
    return tf_keras.Model(x, layers.BatchNormalization(name="norm")(doubled))


def test_calibration_takes_the_mean_over_batches_and_moves_nothing_else(net):
    layer = quantize_layer(RunningRange(), "range")
    layer(layers.Input((4,)))
    weights = net.get_weights()
    x = np.concatenate([np.full((32, 4), -1.0), np.full((32, 4), 3.0)])
    calibrate(net, [(net.get_layer("doubled").output, layer)], x)
    assert state(layer) == pytest.approx((-1.0, 3.0, 2.0), abs=1e-4)
    for before, after in zip(weights, net.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_short_last_batch_is_filled_up(net):
    shapes = [batch[0].shape[0] for batch in model_batches(net, np.zeros((70, 4)))]
    assert shapes == [32, 32, 32]
    assert [batch[0].shape[0] for batch in model_batches(net, np.zeros((3, 4)))] == [3]


def test_inputs_of_another_shape_are_refused(net):
    with pytest.raises(DataError) as error:
        calibrate(net, [], np.zeros((9, 5)))
    assert str(error.value) == (
        "Received representative samples of shape (5,) for 'x'; expected shape (4,), where None is "
        "any size. Fix: pass inputs as the model takes them, the first axis counting samples."
    )


def test_a_range_that_is_not_finite_is_refused(net):
    layer = quantize_layer(RunningRange(), "range")
    layer(layers.Input((4,)))
    with pytest.raises(TechniqueError) as error:
        calibrate(net, [(net.get_layer("doubled").output, layer)], np.full((4, 4), np.inf))
    assert str(error.value) == (
        "Received a range of 0.0 to inf behind layer 'doubled', calibrating with representative "
        "inputs; expected finite numbers. Fix: check the inputs' scaling, and that the model's own "
        "predictions are finite."
    )
