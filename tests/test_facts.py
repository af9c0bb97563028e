import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfopt
from tfopt import facts
from tfopt.errors import ModelError
from tfopt.keras_gate import tf_keras, tfmot
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


def test_what_no_training_changes_may_be_infinite():
    class Masked(layers.Layer):
        def build(self, shape):
            self.mask = self.add_weight("mask", (3,), trainable=False)

        def call(self, x):
            return x + self.mask

    model = tf_keras.Sequential([layers.Dense(3, input_shape=(2,)), Masked(name="masked")])
    model.get_layer("masked").mask.assign([0.0, 0.0, -np.inf])
    assert facts.broken_weights(model) is None
    facts.check_usable(model)
    model.get_layer("masked").mask.assign([0.0, 0.0, np.nan])
    assert facts.broken_weights(model) == "NaN in the weights of layer 'masked' (mask)"


def clustered_by_tfmot():
    linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
    return tfmot.clustering.keras.cluster_weights(small_cnn(), 4, linear)


def test_a_model_that_tfmot_clusters_is_measured():
    measured = facts.measure(clustered_by_tfmot())
    assert [kernel.layer for kernel in measured.kernels] == [
        "stem_conv",
        "block_conv",
        "probabilities",
    ]


def in_training():
    return tfopt.QuantizationAware().wrap(small_cnn(), steps_per_epoch=1).model


@pytest.mark.parametrize(
    ("wrapped", "way_out"),
    [
        (lambda: tfmot.sparsity.keras.prune_low_magnitude(small_cnn()), r"strip_pruning\(model\)"),
        (clustered_by_tfmot, r"strip_clustering\(model\)"),
        (in_training, r"call strip\(\)"),
    ],
    ids=["pruned", "clustered", "quantization-aware"],
)
def test_a_model_that_is_still_wrapped_is_refused_with_the_way_out(wrapped, way_out, digits):
    model = wrapped()
    with pytest.raises(ModelError, match=f"still wrapped for training .* Fix: .*{way_out}"):
        tfopt.convert(model, target=tfopt.Target.float32())
    with pytest.raises(ModelError, match=way_out):
        tfopt.optimize(model, [], task=digits, target=tfopt.Target.int8())
    assert tfopt.load_model(model).output_shape == (None, 10)  # to go on with it


def test_techniques_refuse_a_model_that_tfmot_still_wraps():
    model = tfmot.sparsity.keras.prune_low_magnitude(small_cnn())
    for technique in (tfopt.WeightClustering(), tfopt.QuantizationAware()):
        with pytest.raises(ModelError, match=r"strip_pruning\(model\)"):
            technique.select(model)
    facts.check_usable(tfmot.sparsity.keras.strip_pruning(model))


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
