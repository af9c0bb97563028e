"""Settings of a chain may name layers that an earlier step removes whole."""

import dataclasses
import warnings

import pytest

import tfopt
from tfopt.errors import SettingError
from tfopt.removed import RemovedLayerWarning
from tfopt.technique import Skipped
from tfopt.testing import residual_net

TARGET = tfopt.Target.int8(refine=False)
# Removes the whole branch of a batch norm without scale.
CUT = tfopt.ChannelPruning(macs=0.92, steps=2, multiple_of=1, importance="bn_scale")
GONE = "first_conv"


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


@pytest.fixture(scope="module")
def model():
    model = residual_net()
    norm = model.get_layer("first_bn")
    norm.set_weights([1e-6 * norm.gamma.numpy(), *norm.get_weights()[1:]])
    return model


def chain(model, task, technique, target=TARGET, first=CUT):
    return tfopt.optimize(model, [first, technique], task=task, target=target)


def test_the_layer_is_gone(model, task):
    names = [layer.name for layer in CUT.apply(model, task).layers]
    assert GONE not in names and "stem_conv" in names


def told(field, kind="Conv2D", name=GONE):
    return Skipped(name, kind, f"named in {field}, and an earlier step has left no such layer")


@pytest.mark.parametrize(
    ("technique", "fields"),
    [
        (tfopt.MagnitudePruning(steps=4, skip=(GONE,)), ["skip"]),
        (tfopt.MagnitudePruning(steps=4, only=("Dense", GONE)), ["only"]),
        (tfopt.QuantizationAware(steps=2, bits=4, keep_int8=(GONE,)), ["keep_int8"]),
        (tfopt.RoundWeights(method="nearest", skip=(GONE,)), ["skip"]),
        (tfopt.Distillation(steps=2, features=((GONE, GONE),), skip=(GONE,)), ["skip", "features"]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_it_is_left_out_and_told(model, task, technique, fields):
    target = (
        tfopt.Target.int4_weights(refine=False) if getattr(technique, "bits", 8) == 4 else TARGET
    )
    result = chain(model, task, technique, target)
    step = result.report.steps[-1]
    assert step.touched and all(told(field) in step.skipped for field in fields)
    assert result.recipe.techniques == (CUT, technique)
    assert step.settings == technique.settings


def test_a_step_for_nothing_else_is_left_out(model, task):
    technique = tfopt.MagnitudePruning(steps=4, only=(GONE,))
    with pytest.warns(RemovedLayerWarning, match=r"MagnitudePruning\(.* is left out"):
        result = chain(model, task, technique)
    step = result.report.steps[-1]
    assert step.touched == () and told("only") in step.skipped
    assert step.sparsity == result.report.steps[-2].sparsity
    assert len(step.skipped) == len(result.model.layers)  # the input is none, the gone layer is
    assert result.recipe.techniques == (CUT, technique)


def test_a_class_may_be_gone(task, model):
    technique = tfopt.MagnitudePruning(steps=4, skip=("Add",))
    assert told("skip", "Add", "Add") in chain(model, task, technique).report.steps[-1].skipped


@pytest.mark.parametrize("refine", [True, False])
def test_the_targets_names_are_left_out_too(model, task, refine):
    target = tfopt.Target.int8(keep_float=(GONE, "stem_conv"), refine=refine, allow_float_ops=True)
    result = tfopt.optimize(model, [CUT], task=task, target=target)
    assert f"{GONE}: named in keep_float" in " ".join(result.report.steps[2].warnings)
    assert result.recipe.target == target
    kept = [op for op in tfopt.inspect(result.tflite).ops if op.layer == "stem_conv"]
    assert kept and all("int8" not in op.outputs[0].dtype for op in kept if op.name == "CONV_2D")


def test_each_alone_and_stacked(model, task):
    technique = tfopt.MagnitudePruning(steps=4, skip=(GONE,))
    report = tfopt.ablate(model, [CUT, technique], task=task, target=TARGET)
    alone, stacked = report.steps[-2:]
    assert GONE in {skip.layer for skip in alone.skipped} and told("skip") not in alone.skipped
    assert told("skip") in stacked.skipped


def test_with_a_cache_it_is_found_again(model, task, tmp_path):
    technique = tfopt.MagnitudePruning(steps=4, skip=(GONE,))
    steps = [CUT, technique]
    first = tfopt.optimize(model, steps, task=task, target=TARGET, cache=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = tfopt.optimize(model, steps, task=task, target=TARGET, cache=tmp_path)
    assert again.tflite == first.tflite and again.recipe == first.recipe
    assert again.report.steps[-1].skipped == first.report.steps[-1].skipped


def test_a_name_that_the_users_model_never_had_is_refused_at_once(model, task):
    technique = tfopt.MagnitudePruning(steps=4, skip=("frist_conv",))
    with pytest.raises(SettingError, match="no layer 'frist_conv'"):
        chain(model, task, technique)


def test_a_model_with_all_its_layers_has_its_settings(model, task):
    first = dataclasses.replace(CUT, macs=0.2)
    technique = tfopt.MagnitudePruning(steps=4, skip=("stem_conv",))
    skipped = chain(model, task, technique, first=first).report.steps[-1].skipped
    assert [skip.reason for skip in skipped if skip.layer == "stem_conv"] == [
        "named in skip=('stem_conv',)"
    ]
