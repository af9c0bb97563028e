"""Every technique keeps the promises of a technique, on every kind of small model."""

import pytest

import tfopt
from tfopt import testing

TECHNIQUES = [
    tfopt.ChannelPruning(channels=0.5, epochs=0.25),
    tfopt.LowRank(energy=0.5, epochs=0.25),
    tfopt.Distillation(epochs=0.25),
    tfopt.MagnitudePruning(sparsity=0.5, epochs=0.5),
    tfopt.WeightClustering(clusters=8, epochs=0.25),
    tfopt.EqualizeChannels(),
    tfopt.QuantizationAware(epochs=0.25),
    tfopt.CorrectBias(bits=4, samples=64),
    tfopt.RoundWeights(samples=64, steps=30),
]
MODELS = [
    testing.small_cnn,
    pytest.param(testing.depthwise_net, marks=pytest.mark.slow),
    pytest.param(testing.residual_net, marks=pytest.mark.slow),
    pytest.param(testing.dense_net, marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda technique: technique.name)
@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_technique_keeps_its_promises(technique, build, task):
    optimized = testing.check_technique(technique, build(), task=task)
    assert optimized.output_shape == (None, 10)
