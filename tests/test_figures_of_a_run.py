"""What `optimize` puts into the report besides the steps' own figures."""

import base64
import dataclasses
import json

import numpy as np
import pytest

import tfopt
from tfopt.errors import SettingError
from tfopt.keras_gate import tf_keras
from tfopt.measure.layer_figures import layer_figures
from tfopt.report import Budget, Group
from tfopt.report.budgets import judged
from tfopt.testing import small_cnn


def dark(x, y):
    return np.where(x.mean(axis=(1, 2, 3)) < 0.3, "dark", "light")


@pytest.fixture(scope="module")
def result(trained, digits):
    target = tfopt.Target.int8(refine=False, max_group_drop=1.0, max_arena_bytes=100)
    return tfopt.optimize(trained(small_cnn), [], task=digits.grouped({"ink": dark}), target=target)


@pytest.fixture(scope="module")
def report(result):
    return result.report


def test_the_report_compares_the_last_file_with_the_baseline_on_the_test_set(report):
    first, last = report.steps[0].test, report.steps[-1].test
    assert report.split == "test"
    assert report.difference.value == pytest.approx(last.value - first.value)
    found = report.mistakes
    assert (found.won - found.lost) / found.samples == pytest.approx(report.difference.value)
    for mistake in found.shown:
        assert base64.b64decode(mistake.png).startswith(b"\x89PNG")


def test_classes_and_groups_are_each_all_of_the_test_set(report):
    for by in ("class", "ink"):
        assert sum(group.samples for group in report.groups if group.by == by) == 359
    assert {group.name for group in report.groups if group.by == "ink"} == {"dark", "light"}


def test_steps_have_their_figures(report):
    baseline, last = report.steps
    assert baseline.kl == 0 and baseline.latency_ratio is None and baseline.agreement == 1
    assert 0 < last.kl < 0.5
    assert last.latency_ratio.low <= last.latency_ratio.value <= last.latency_ratio.high
    assert len(last.latencies_ms) == 21 and last.latencies_ms[10] == last.latency_ms
    assert 0 < last.arena_bytes < baseline.arena_bytes
    assert report.changes()[-1][1].latency == last.latency_ratio.value


def test_ops_and_layers_of_the_last_file_add_up(report, result):
    inspection = tfopt.inspect(result.tflite)
    assert [op.op for op in report.profile.ops] == [op.name for op in inspection.ops]
    assert sum(op.share for op in report.profile.ops) == pytest.approx(1)
    layers = report.layers
    assert [layer.layer for layer in layers][:2] == ["stem_conv", "block_conv"]
    assert sum(layer.macs for layer in layers) == inspection.macs
    assert sum(layer.parameters for layer in layers) == inspection.parameters
    assert 0 < sum(layer.bytes for layer in layers) < inspection.bytes
    assert layers[0].kind == "Conv2D" and layers[0].weight_bits == 8
    assert 10 < layers[0].sqnr_db < 60 and layers[0].unique_weights > 2


def test_budgets_judge_memory_and_the_group_that_lost_most(report):
    arena, group = (
        next(budget for budget in report.budgets if budget.name == name)
        for name in ("max_arena_bytes", "max_group_drop")
    )
    assert not arena.kept and arena.measured.endswith("bytes of activations at once")
    assert group.kept
    worst = report.largest_drop
    assert worst is None or group.spent == worst.drop(higher_is_better=True)


def test_it_all_reads_back_from_json(report):
    assert tfopt.Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_a_drop_of_a_group_breaks_its_budget(report):
    lost = [
        dataclasses.replace(
            group, difference=dataclasses.replace(group.difference, value=-0.3), p_value=0.001
        )
        for group in report.groups[:1]
    ]
    small = Group("rare", "ink", 3, reason="3 samples, fewer than 25")
    made = dataclasses.replace(report, groups=(*lost, *report.groups[1:], small))
    budget = judged(tfopt.Target.int8(max_group_drop=0.1), made)[0]
    assert not budget.kept and budget.spent == pytest.approx(0.3)
    assert budget.measured == (
        f"class '0' loses 0.3000, the most of 12, on {lost[0].samples} test samples (significant); "
        "too few samples to judge ink 'rare'"
    )
    nothing = dataclasses.replace(report, groups=(small,))
    assert not judged(tfopt.Target.int8(max_group_drop=0.1), nothing)[0].kept


def test_numbers_between_0_and_1_agree_as_numbers():
    x = np.random.default_rng(0).random((200, 6), np.float32)
    y = x.mean(axis=1, keepdims=True)
    inputs = tf_keras.Input((6,))
    outputs = tf_keras.layers.Dense(1, activation="sigmoid", name="share")(inputs)
    model = tf_keras.Model(inputs, outputs)
    task = tfopt.Task.from_arrays((x, y), (x, y), loss="mse", metric="mae")
    result = tfopt.optimize(model, [], task=task, target=tfopt.Target.int8(refine=False))
    assert 0.9 < result.report.steps[-1].agreement < 1  # a share of decisions would be 1


def test_no_group_to_judge_is_known_before_anything_is_done(trained, digits):
    x, y = digits.train.x[:200], np.eye(10, dtype=np.float32)[digits.train.y[:200]]
    task = tfopt.Task.from_arrays((x, y), (x, y), loss="mse", metric="mae")
    with pytest.raises(SettingError, match="max_group_drop for data without groups"):
        tfopt.optimize(
            trained(small_cnn), [], task=task, target=tfopt.Target.int8(max_group_drop=0.1)
        )


def test_constants_that_layers_share_and_float_files_are_counted_once(trained, digits):
    for target in (tfopt.Target.float32(), tfopt.Target.float16()):
        content = tfopt.convert(trained(small_cnn), target=target)
        rows = layer_figures(content, trained(small_cnn))
        assert sum(row.parameters for row in rows) == tfopt.inspect(content).parameters
        assert all(row.sqnr_db is None for row in rows)


def test_the_budget_of_the_record_is_as_it_was():
    assert Budget("max_group_drop", 0.1, float("inf"), "-").kept is False


def test_a_file_without_a_profile_says_why(trained, digits, monkeypatch):
    from tfopt import measurement
    from tfopt.errors import InterpreterError

    def failing(tflite, **settings):
        raise InterpreterError(received="a file of another world", expected="-", fix="-")

    monkeypatch.setattr(measurement, "profile", failing)
    result = tfopt.optimize(trained(small_cnn), [], task=digits, target=tfopt.Target.float32())
    assert result.report.profile is None
    assert result.report.steps[-1].warnings == ("no profile: a file of another world",)
