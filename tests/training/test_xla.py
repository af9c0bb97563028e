import numpy as np
import pytest

import tfopt
from tfopt.keras_gate import clone, tf_keras
from tfopt.teaching import Teaching
from tfopt.testing import dense_net, small_cnn
from tfopt.training import fine_tune, xla

layers = tf_keras.layers


def wide(units=256):
    return tf_keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(units, activation="relu"),
            layers.Dense(units, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def test_only_wide_dense_nets_trained_for_long():
    assert xla.pays(wide(), 2_000)
    assert not xla.pays(wide(), 100)
    assert not xla.pays(dense_net(), 2_000)
    assert not xla.pays(small_cnn(), 2_000)
    recurrent = tf_keras.Sequential([layers.Input((9, 100)), layers.LSTM(200)])
    assert not xla.pays(recurrent, 2_000)
    taught = wide()
    Teaching(wide()).teach(taught)
    assert not xla.pays(taught, 2_000)


@pytest.mark.slow
def test_the_same_weights_with_it_each_time_and_nearly_those_without(monkeypatch):
    task = tfopt.Task.digits(batch_size=16)
    start = wide()
    trained = []
    for least in (8, 8, 9):
        monkeypatch.setattr(xla, "STEPS", least)
        model = clone(start)
        fine_tune(model, task, steps=8, learning_rate=1e-3)
        assert bool(model.jit_compile) == (least == 8)
        trained.append(model.get_weights())
    for once, again, without in zip(*trained, strict=True):
        np.testing.assert_array_equal(once, again)
        assert once == pytest.approx(without, abs=1e-4)
