"""A chain, its report and the comparison of layers, on each of the typical models."""

import importlib

import pytest

import tfopt
from tfopt.testing.zoo import MODELS

UNTRACEABLE = "subclassed_untraceable"
QUICK = ("lenet", "named_inputs", "conv_lstm")


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=entry.name, marks=() if entry.name in QUICK else pytest.mark.slow)
        for entry in MODELS
        if entry.name != UNTRACEABLE
    ],
)
def test_a_chain_comes_to_its_report(entry, tmp_path):
    model = entry.build(importlib.import_module(entry.only or "tf_keras"))
    task = entry.task(tfopt.load_model(model), samples=64)
    chain = [
        tfopt.MagnitudePruning(sparsity=0.5, epochs=0.5),
        tfopt.QuantizationAware(epochs=0.5),
    ]
    result = tfopt.optimize(model, chain, task=task, target=tfopt.Target.int8())
    assert tfopt.inspect(result.tflite).integer_only
    assert [step.name for step in result.report.steps] == [
        "baseline",
        "conversion only",
        "MagnitudePruning",
        "QuantizationAware",
    ]
    result.save(tmp_path / "out")
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert tfopt.compare_layers(result.tflite, result.model, task=task, samples=8).layers
