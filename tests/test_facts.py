import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt import facts
from tfopt.keras_gate import tf_keras
from tfopt.testing import depthwise_net, small_cnn

layers = tf_keras.layers


def test_kernels_are_found_wherever_they_are():
    cases = [
        (layers.SeparableConv2D(4, 3), (8, 8, 2), {"depthwise_kernel", "pointwise_kernel"}),
        (layers.Conv2DTranspose(4, 3), (8, 8, 2), {"kernel"}),
        (layers.Embedding(9, 4), (5,), {"embeddings"}),
        (layers.GRU(4), (5, 3), {"cell.kernel", "cell.recurrent_kernel"}),
        (layers.TimeDistributed(layers.Dense(4)), (5, 3), {"layer.kernel"}),
        (layers.BatchNormalization(), (5, 3), set()),
        (layers.Flatten(), (5, 3), set()),
    ]
    for layer, shape, keys in cases:
        tf_keras.Sequential([layers.Input(shape), layer])
        assert set(facts.kernels(layer)) == keys, layer


def test_a_model_is_measured():
    model = small_cnn()
    model.get_layer("stem_conv").kernel.assign(np.zeros((3, 3, 1, 8)))
    measured = facts.measure(model)
    assert [kernel.layer for kernel in measured.kernels] == [
        "stem_conv",
        "block_conv",
        "probabilities",
    ]
    assert measured.kernels[0].sparsity == 1.0
    assert measured.kernels[0].unique == 1
    assert measured.parameters == model.count_params()
    assert not measured.fake_quantized


KERNEL = facts.KernelFacts("conv", "kernel", (3, 3, 8, 16), 0.5, 17, 17)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({}, []),
        ({"sparsity": 0.495}, []),
        ({"sparsity": 0.6, "unique": 18, "channel_unique": 18}, []),
        ({"sparsity": 0.4}, ["the sparsity of conv (kernel) fell from 0.500 to 0.400"]),
        ({"unique": 30}, ["conv (kernel) had 17 different weights and now has 30"]),
        ({"layer": "other"}, []),
    ],
)
def test_lost_gains_are_named(change, lost):
    before = facts.ModelFacts((KERNEL,), 1152, False)
    after = facts.ModelFacts((dataclasses.replace(KERNEL, **change),), 1152, False)
    assert facts.lost_gains(before, after) == lost


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 1), st.integers(2, 40))
def test_measuring_agrees_with_counting(share, values):
    model = depthwise_net()
    random = np.random.default_rng(values)
    kernel = model.get_layer("pointwise_conv").kernel
    weights = random.integers(1, values + 1, kernel.shape) * (random.random(kernel.shape) > share)
    kernel.assign(weights)
    measured = next(k for k in facts.measure(model).kernels if k.layer == "pointwise_conv")
    assert measured.sparsity == pytest.approx(np.mean(weights == 0))
    assert measured.unique == len(np.unique(weights))
    assert facts.lost_gains(facts.measure(model), facts.measure(model)) == []
