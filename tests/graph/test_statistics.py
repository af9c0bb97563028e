"""What batch norms tell of activations is what data shows."""

import numpy as np
import pytest

from tfopt.graph.statistics import Normal, clipped_mean, input_means
from tfopt.keras_gate import tf_keras

layers = tf_keras.layers


@pytest.mark.parametrize("high", [None, 6.0])
def test_mean_of_a_cut_off_normal_distribution(high):
    mean, deviation = np.array([-3.0, 0.0, 2.0, 9.0, 1.0]), np.array([1.0, 2.0, 4.0, 1.0, 0.0])
    drawn = np.random.default_rng(0).normal(mean, deviation, (400_000, 5))
    expected = np.clip(drawn, 0, high).mean(0)
    np.testing.assert_allclose(clipped_mean(Normal(mean, deviation), high), expected, atol=0.02)


def test_means_go_through_what_keeps_them_and_end_elsewhere():
    image = layers.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 1, name="first")(image))
    relu = layers.Dropout(0.5)(layers.ReLU()(x))
    average = layers.Flatten()(layers.AveragePooling2D(4)(relu))
    both = layers.Add()([relu, x])
    model = tf_keras.Model(
        image,
        [
            layers.Dense(2, name="flat")(average),
            layers.Conv2D(2, 1, name="sum")(both),
            layers.Conv2D(2, 1, name="largest")(layers.MaxPooling2D()(relu)),
        ],
    )
    model.get_layer("norm").beta.assign([0.0, 1.0, 2.0, 3.0])
    means = input_means(model)
    assert "first" not in means and "largest" not in means
    half = 1 / np.sqrt(2 * np.pi)
    assert means["flat"].shape == (16,)
    np.testing.assert_allclose(means["flat"][[0, 4]], half, atol=1e-4)
    np.testing.assert_allclose(means["sum"][0], half, atol=1e-4)
    assert means["sum"][3] == pytest.approx(6.0, abs=0.01)
