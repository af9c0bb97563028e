import dataclasses
import json
import pickle
import time

import numpy as np
import pytest

import tfopt
from tfopt import training
from tfopt.errors import SettingError
from tfopt.fine_tuning import FineTuned
from tfopt.fine_tuning import technique as fine_tuning
from tfopt.keras_gate import tf_keras
from tfopt.recipe import technique_from_dict, technique_to_dict
from tfopt.teaching import teaching_of
from tfopt.testing import dense_net
from tfopt.training import xla
from tfopt.training.trial import MANY_STEPS, steps_within


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 5, "seconds": 3}, r"steps=5 and seconds=3; expected one of epochs, steps and"),
        ({"epochs": 3, "steps": 5}, r"epochs=3 and steps=5; expected one of"),
        ({"epochs": 1, "steps": 5}, r"epochs=1 and steps=5; expected one of"),  # 1 is the default
        ({"epochs": 3, "seconds": 5.5}, r"epochs=3 and seconds=5.5; expected one of"),
        ({"steps": 0}, r"steps=0; expected a whole number, at least 1"),
        ({"steps": 2.5}, r"steps=2.5; expected a whole number"),
        ({"steps": True}, r"steps=True; expected a whole number"),
        ({"seconds": -1}, r"seconds=-1; expected a number above 0"),
        ({"seconds": float("inf")}, r"seconds=inf; expected a number above 0"),
        ({"early_stopping": 0}, r"early_stopping=0; expected a whole number"),
    ],
)
def test_budgets_that_cannot_be(settings, message):
    with pytest.raises(SettingError, match=message):
        tfopt.WeightClustering(**settings)


@pytest.mark.parametrize("kind", [tfopt.WeightClustering, tfopt.MagnitudePruning])
def test_a_default_is_told_from_the_same_number_given(kind):
    usual = kind()
    given = kind(epochs=float(usual.epochs))
    assert usual == given
    assert usual.settings == kind(epochs=int(usual.epochs)).settings
    assert technique_to_dict(usual) == technique_to_dict(given)
    assert dataclasses.replace(pickle.loads(pickle.dumps(usual)), steps=5) == kind(steps=5)
    with pytest.raises(SettingError, match=r"epochs=\d\.0 and steps=5"):
        dataclasses.replace(given, steps=5)


def test_a_technique_of_another_package_may_have_another_default():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Longer(tfopt.WeightClustering):
        epochs: float = 7

    assert Longer(steps=5).steps == 5
    with pytest.raises(SettingError, match="epochs=1 and steps=5"):
        Longer(epochs=1, steps=5)


def test_steps_are_trained_as_they_are_counted(task):
    technique = tfopt.WeightClustering(clusters=4, steps=21)
    assert technique.settings == "clusters=4, steps=21"
    assert technique_from_dict(json.loads(json.dumps(technique_to_dict(technique)))) == technique
    assert technique.steps_in(1000) == 21
    with training.recorded() as trainings:
        technique.apply(dense_net(), task)
    assert [told.steps for told in trainings] == [21]


def test_seconds_become_steps_that_make_the_same_weights_again(task, monkeypatch):
    monkeypatch.setattr(fine_tuning, "steps_within", lambda *_, **__: 12)
    technique, start = tfopt.WeightClustering(clusters=4, seconds=30), dense_net()
    assert technique.settings == "clusters=4, seconds=30"
    with pytest.warns(UserWarning, match="seconds=30 are steps=12 on this machine now"):
        first = technique.apply(start, task)
    pinned = technique.pinned(start, task)
    assert pinned == tfopt.WeightClustering(clusters=4, steps=12)
    again = pinned.apply(start, task)
    for ours, theirs in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "settings",
    [{"importance": "taylor"}, {"iterations": 3}, {}],
    ids=lambda settings: next(iter(settings), "plain"),
)
def test_what_is_timed_is_cut_and_taught_as_what_is_trained(settings, task, monkeypatch):
    timed = []

    def steps_within(model, task, *, trainings, **_):
        timed.append((model, trainings))
        return 12

    monkeypatch.setattr(fine_tuning, "steps_within", steps_within)
    technique = tfopt.ChannelPruning(macs=0.5, seconds=60, teacher="baseline", **settings)
    technique.pinned(start := dense_net(), task)
    ((model, trainings),) = timed
    assert teaching_of(model) is not None
    assert model.count_params() < start.count_params()
    assert trainings == technique.iterations


def test_each_training_takes_the_time_its_model_and_graph_do(task):
    assert steps_within(dense_net(), task, seconds=90, spent=30, trainings=1) > 1
    with pytest.raises(SettingError, match=r"at least 2 step\(s\)"):
        steps_within(dense_net(), task, seconds=90, spent=30, trainings=2)


def test_what_is_timed_uses_xla_only_if_the_training_will(task, monkeypatch):
    monkeypatch.setattr(xla, "STEPS", MANY_STEPS)
    wide = [tf_keras.Input((8, 8, 1)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(10_000)]
    model = tf_keras.Sequential([*wide, tf_keras.layers.Dense(10, activation="softmax")])
    assert xla.pays(model, MANY_STEPS)
    steps = steps_within(model, task, seconds=12)
    assert steps < MANY_STEPS
    assert not model.jit_compile


@pytest.mark.slow
def test_a_training_takes_about_the_seconds_it_is_given(task):
    technique = tfopt.WeightClustering(clusters=4, seconds=25, early_stopping=9)
    start = time.monotonic()
    with training.recorded() as trainings, pytest.warns(UserWarning, match="seconds=25 are"):
        technique.apply(dense_net(), task)
    assert 10 < time.monotonic() - start < 50
    assert trainings[-1].steps > 100


def test_a_time_in_which_nothing_can_be_trained_is_refused(task):
    with pytest.raises(SettingError, match=r"building and timing takes .*use seconds=\d+ or more"):
        tfopt.WeightClustering(seconds=0.01).apply(dense_net(), task)


def test_a_loop_of_ones_own_needs_steps():
    with pytest.raises(SettingError, match=r"seconds=9, where steps have to be known"):
        tfopt.WeightClustering(seconds=9).steps_in(10)


def test_a_technique_is_pinned_once(task):
    technique = tfopt.WeightClustering(steps=3)
    assert technique.pinned(dense_net(), task) is technique


def test_every_technique_that_trains_has_the_fields():
    fields = {"epochs", "steps", "seconds", "learning_rate", "early_stopping"}
    assert fields <= set(FineTuned.__dataclass_fields__)


def test_a_pruned_model_stops_early_only_when_it_is_pruned(task):
    technique = tfopt.MagnitudePruning(sparsity=0.8, epochs=2, early_stopping=1)
    with training.recorded() as trainings:
        technique.apply(dense_net(), task)
    (told,) = trainings
    assert told.best_step > 0.75 * told.planned_steps


@pytest.mark.parametrize(
    "technique",
    [
        tfopt.LowRank(parameters=0.3, steps=64, early_stopping=9),
        tfopt.ChannelPruning(channels=0.3, steps=64, early_stopping=9),
    ],
    ids=lambda technique: technique.name,
)
def test_what_is_changed_before_the_training_may_stop_early_from_the_start(technique, task):
    with training.recorded() as trainings:
        technique.apply(dense_net(), task)
    (told,) = trainings
    assert told.evaluations[0].step <= 16


def test_what_does_not_fit_is_refused_before_the_clock_runs(task, monkeypatch):
    monkeypatch.setattr(fine_tuning, "steps_within", None)  # whoever times fails
    for technique in (
        tfopt.MagnitudePruning(seconds=30, only=("nope",)),
        tfopt.ChannelPruning(macs=0.5, seconds=30, only=("nope",)),
    ):
        with pytest.raises(SettingError, match=r"the model has no layer 'nope'"):
            technique.apply(dense_net(), task)
