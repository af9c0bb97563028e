"""Techniques in pairs: a pair works and keeps what the first gained, or is refused untrained."""

import itertools

import pytest

import tfopt
from tfopt import facts
from tfopt.errors import SettingError, TechniqueError
from tfopt.graph.cost import model_cost
from tfopt.technique import Stage, check_order
from tfopt.testing import small_cnn

TECHNIQUES = {
    "channels": tfopt.ChannelPruning(channels=0.5, epochs=1),
    "rank": tfopt.LowRank(parameters=0.2, epochs=1),
    "distil": tfopt.Distillation(epochs=1),
    "sparse": tfopt.MagnitudePruning(sparsity=0.5, epochs=1),
    "scale": tfopt.EqualizeChannels(),
    "cluster": tfopt.WeightClustering(clusters=8, epochs=1),
    "aware": tfopt.QuantizationAware(epochs=1),
    "round": tfopt.RoundWeights(samples=32, steps=10),
    "bias": tfopt.CorrectBias(samples=32),
}
PAIRS = [
    pair
    for pair in itertools.permutations(TECHNIQUES, 2)
    if TECHNIQUES[pair[0]].stage <= TECHNIQUES[pair[1]].stage
    and [TECHNIQUES[name].stage for name in pair].count(Stage.QUANTIZATION) < 2
]
# one that no other test has in a chain
_QUICK = [("sparse", "round")]


@pytest.fixture(scope="module")
def task(digits):
    x, y = next(digits.train.batches(192))
    held = next(digits.validation.batches(64))
    return tfopt.Task.from_arrays(
        (x, y), held, loss="sparse_categorical_crossentropy", batch_size=64
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [pytest.param(*pair, marks=() if pair in _QUICK else pytest.mark.slow) for pair in PAIRS],
)
def test_a_pair_in_order_keeps_what_was_gained(first, second, task, trained):
    steps = [TECHNIQUES[first], TECHNIQUES[second]]
    check_order(steps)
    model = trained(small_cnn)
    for step in steps:
        try:
            step.select(model)
        except TechniqueError as error:  # with the way out; `optimize` says so before it trains
            assert "Fix: " in str(error)
            return
        before, model = model, step.apply(model, task)
        assert facts.lost_gains(facts.measure(before), facts.measure(model)) == []
        assert model_cost(model).weights <= model_cost(before).weights
        assert model_cost(model).macs <= model_cost(before).macs
    tflite = tfopt.convert(model, task=task, target=tfopt.Target.int8(refine=False))
    inspection = tfopt.inspect(tflite)
    assert inspection.integer_only
    assert inspection.sparsity >= facts.measure(model).sparsity - 0.02


@pytest.mark.parametrize(
    ("first", "second"), [("cluster", "round"), ("round", "bias"), ("aware", "bias")]
)
def test_a_step_that_has_no_layer_left_is_refused_untrained(first, second, task, monkeypatch):
    steps = [TECHNIQUES[first], TECHNIQUES[second]]
    monkeypatch.setattr(type(steps[0]), "apply", lambda *_: pytest.fail("it was trained"))
    told = f"{steps[1].name} after {steps[0].name}, for the same layers"
    with pytest.raises(SettingError, match=told):
        tfopt.optimize(small_cnn(), steps, task=task, target=tfopt.Target.int8())


def test_a_step_that_has_layers_left_is_not(task):
    clusters = tfopt.WeightClustering(epochs=0.4, skip=("probabilities",))
    rounding = tfopt.RoundWeights(method="nearest", ranges="max")
    target = tfopt.Target.int8()
    result = tfopt.optimize(small_cnn(), [clusters, rounding], task=task, target=target)
    assert result.report.steps[-1].touched == ("probabilities",)


@pytest.mark.parametrize(
    ("first", "second"), [pair for pair in itertools.permutations(TECHNIQUES, 2)]
)
def test_a_pair_that_cannot_work_is_refused_with_an_order_that_does(first, second):
    steps = [TECHNIQUES[first], TECHNIQUES[second]]
    if (first, second) in PAIRS:
        check_order(steps)
        return
    with pytest.raises(SettingError) as caught:
        check_order(steps)
    if "at most one" in str(caught.value):
        return
    assert f"use this order: {steps[1].name}, {steps[0].name}" in str(caught.value)
    check_order(steps[::-1])


def test_another_student_comes_first():
    student = tfopt.Distillation(student="small.h5")
    with pytest.raises(SettingError, match=r"this order: Distillation, ChannelPruning, Low"):
        check_order([TECHNIQUES["channels"], TECHNIQUES["rank"], student])
    check_order([student, TECHNIQUES["channels"], TECHNIQUES["distil"]])


def test_of_two_other_students_one_is_kept():
    students = [tfopt.Distillation(student=path) for path in ("small.h5", "smaller.h5")]
    with pytest.raises(SettingError, match=r"2 techniques that begin with .*keep one, the last"):
        check_order(students)


def test_a_layer_that_grows_again_is_a_lost_gain():
    technique = tfopt.ChannelPruning(channels=0.5, allocation="uniform")
    small = technique.wrap(small_cnn(), steps_per_epoch=1).model
    lost = facts.lost_gains(facts.measure(small), facts.measure(small_cnn()))
    assert lost[0] == "stem_conv (kernel) had 36 weights and now has 72"
    assert facts.lost_gains(facts.measure(small_cnn()), facts.measure(small)) == []
