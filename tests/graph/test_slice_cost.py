"""What is predicted of a cut is what the model that is built of it costs."""

import importlib
import math

import numpy as np
import pytest

import tfopt
from tfopt.channels.plan import Plan
from tfopt.graph.cost import model_cost
from tfopt.graph.dependencies import analyse, without
from tfopt.graph.slice_cost import Costs
from tfopt.graph.slicing import slice_channels
from tfopt.keras_gate import tf_keras
from tfopt.testing.zoo import MODELS

layers = tf_keras.layers

UNTRACEABLE = "subclassed_untraceable"
QUICK = (
    "resnet", "preactivation_resnet", "mobilenet_v2", "densenet", "convnext", "mlp_mixer",
    "grouped_and_dilated", "squeeze_and_excite", "conv_recurrent_keywords", "text_transformer",
    "feature_pyramid", "unet_transposed", "time_distributed", "conv_lstm", "siamese",
)  # fmt: skip
# `model_cost` counts their biases of two axes as kernels, and takes keys and values as many as
# queries; what `Costs` counts of them is what the file says.
ATTENTION = (layers.MultiHeadAttention,)


def weights(model):
    return sum(math.prod(weight.shape) for weight in model.weights)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=entry.name, marks=() if entry.name in QUICK else pytest.mark.slow)
        for entry in MODELS
        if entry.name != UNTRACEABLE
    ],
)
def test_predictions_hold_on_typical_models(entry):
    model = tfopt.load_model(entry.build(importlib.import_module(entry.only or "tf_keras")))
    found = analyse(model)
    costs, scores = Costs(found), np.random.default_rng(0).random(found.units)
    assert len({group.name for group in found.groups}) == len(found.groups)
    masks = [found.everything()]
    for allocation, strength, multiple in (
        ("uniform", 0.3, 1),
        ("global", 0.6, 8),
        ("global", 1, 1),
    ):
        plan = Plan(found, scores, allocation=allocation, multiple_of=multiple)
        masks.append(plan.kept(strength))
    for kept in masks if found.groups else masks[:1]:
        sliced, cost = slice_channels(found, kept), costs.of(kept)
        assert cost.parameters == weights(sliced)
        if not any(isinstance(layer, ATTENTION) for layer in model.layers):
            assert cost.macs == model_cost(sliced).macs


def test_attention_counts_as_in_the_file():
    words, memory = layers.Input((5, 6)), layers.Input((9, 6))
    x = layers.MultiHeadAttention(4, 3, name="attention")(words, memory)
    model = tf_keras.Model([words, memory], layers.Dense(2)(x))
    found = analyse(model)
    heads = found.groups[0].units
    for left in (4, 1):
        kept = found.everything()
        kept[heads[left:]] = False
        file = tfopt.convert(slice_channels(found, kept), target=tfopt.Target.float32())
        scores = 2 * left * 3 * 5 * 9
        assert Costs(found).of(kept).macs == tfopt.inspect(file).macs - scores


def test_what_only_feeds_a_lost_branch_does_not_count():
    image = layers.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    y = layers.Conv2D(12, 3, padding="same", activation="relu", name="first")(x)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Conv2D(16, 3, padding="same", name="second")(y)
    y = layers.Conv2D(8, 3, padding="same", name="third")(y)
    model = tf_keras.Model(image, layers.Conv2D(2, 1)(layers.Add()([x, y])))
    found = analyse(model)
    second = next(group for group in found.groups if group.name == "second")
    kept = without(found, found.everything(), [second])
    sliced, cost = slice_channels(found, kept), Costs(found).of(kept)
    assert "norm" not in [layer.name for layer in sliced.layers]
    assert (cost.channels, cost.parameters) == (8, weights(sliced))
    assert cost.macs == model_cost(sliced).macs
