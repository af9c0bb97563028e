"""The records, and their views against golden files (remake them with TFOPT_GOLDEN=write)."""

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest

from tfopt.report import (
    Budget,
    Difference,
    Evaluation,
    Group,
    LayerFigures,
    LayerSensitivity,
    Mistake,
    Mistakes,
    OpTime,
    OutputScore,
    Profile,
    Ratio,
    Report,
    Score,
    Step,
    Training,
    Trial,
)
from tfopt.technique import Skipped

GOLDEN = Path(__file__).parent / "golden"

BASELINE = Step(
    name="baseline",
    numerics="float32",
    validation=Score(0.98, 0.95, 0.99, 180),
    test=Score(0.97, 0.94, 0.985, 360),
    agreement=1.0,
    bytes=40_000,
    deflated_bytes=36_000,
    latency_ms=0.2,
    latency_p10_ms=0.19,
    latency_p90_ms=0.25,
    macs=1_234_567,
    parameters=9_000,
    sparsity=0.0,
    unique_weights=2_304,
    seconds=2.0,
    kl=0.0,
    latencies_ms=tuple(0.19 + 0.01 * place for place in range(21)),
    arena_bytes=9_216,
)
PRUNED = dataclasses.replace(
    BASELINE,
    name="MagnitudePruning",
    settings="sparsity=0.5",
    numerics="int8",
    validation=Score(0.96, 0.92, 0.98, 180),
    test=Score(0.965, 0.94, 0.98, 360),
    agreement=0.975,
    bytes=14_000,
    deflated_bytes=8_000,
    latency_ms=0.1,
    sparsity=0.5,
    unique_weights=120,
    touched=("conv",),
    skipped=(Skipped("a|b", "BatchNormalization", "has no kernel"),),
    warnings=("SIN (layer 'wave') computes in float32",),
    difference=Difference(-0.02, -0.045, 0.004, 0.11),
    kl=0.0123,
    latency_ratio=Ratio(0.5, 0.48, 0.53),
    arena_bytes=2_304,
    outputs=(OutputScore("digit", "accuracy", Score(0.96, 0.92, 0.98, 180)),),
    trainings=(Training(340, 306, 12.5, (0.41, 0.2, 0.125), (Evaluation(306, 0.96),), 306),),
)
REPORT = Report(
    metric="accuracy",
    higher_is_better=True,
    steps=(BASELINE, PRUNED),
    budgets=(
        Budget("max_accuracy_drop", 0.01, 0.005, "+0.0050 on 360 test samples"),
        Budget("max_bytes", 10_000, 14_000, "14,000 bytes"),
    ),
    environment={"tfopt": "0.1.0", "machine": "a board"},
    trials=(
        Trial("as it is", Score(0.5, 0.43, 0.57, 180), 0.4, 14_000, 1.0),
        Trial("EqualizeChannels", Score(0.96, 0.92, 0.98, 180), 0.01, 14_000, 2.5, chosen=True),
        Trial("RoundWeights", None, None, 0, 0.0, reason="needs no longer be tried"),
    ),
    sensitivity=(
        LayerSensitivity("conv", 0.004, 0.006, 0.25, kept="int16"),
        LayerSensitivity("dense", 0.01, 0.0, 0.75),
    ),
    split="test",
    difference=Difference(-0.005, -0.02, 0.01, 0.6),
    groups=(
        Group(
            "seven",
            "class",
            60,
            Score(0.98, 0.9, 0.99, 60),
            Score(0.80, 0.7, 0.9, 60),
            Difference(-0.18, -0.3, -0.05, 0.001),
            p_value=0.004,
        ),
        Group("eight", "class", 9, reason="9 samples, fewer than 25"),
    ),
    mistakes=Mistakes(
        lost=4,
        won=2,
        samples=360,
        shown=(Mistake(17, "seven", "seven", 0.6, "one", 0.9, png="iVBORw0KGgo=", group="left"),),
    ),
    profile=Profile(
        ops=(
            OpTime(0, "CONV_2D", "conv", "int8", 75.0, 0.75, "XNNPACK", 1_000_000),
            OpTime(1, "SOFTMAX", "probabilities", "int8", 25.0, 0.25, "builtin", 0),
        ),
        whole_us=90.0,
        overhead_us=2.0,
    ),
    layers=(
        LayerFigures("conv", "Conv2D", 5_000, 1_200, 1_000_000, 0.5, 120, 8, 31.5, 2.5),
        LayerFigures("probabilities", "Softmax", 0, 0, 0),
    ),
)


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("report.txt", REPORT.to_table()),
        ("report.md", REPORT.to_markdown()),
        ("report.json", json.dumps(REPORT.to_dict(), indent=2)),
    ],
)
def test_views_are_as_they_were(name, view):
    golden = GOLDEN / name
    if os.environ.get("TFOPT_GOLDEN") == "write":
        golden.write_text(view)
    assert view == golden.read_text()


def test_json_reads_back():
    assert Report.from_dict(json.loads(json.dumps(REPORT.to_dict()))) == REPORT


def test_what_is_no_number_is_null_in_json_and_breaks_its_budget():
    spent = Budget("max_group_drop", 0.1, float("inf"), "no class or group has figures")
    baseline = dataclasses.replace(BASELINE, validation=Score(0.5, float("nan"), 1.0, 9))
    report = Report("auc", True, (baseline,), budgets=(spent,))
    text = json.dumps(report.to_dict(), allow_nan=False)
    again = Report.from_dict(json.loads(text))
    assert not again.kept and math.isnan(again.budgets[0].spent)
    assert math.isnan(again.steps[0].validation.low) and again.steps[0].test == BASELINE.test


def test_a_metric_and_a_verdict_start_no_tag():
    spent = Budget("max_group_drop", 0.1, 0.3, "class '<script>' loses 0.3")
    report = Report("<lambda>", True, (BASELINE,), budgets=(spent,))
    told = report.to_markdown()
    assert "<script>" not in told and "<lambda>" not in told and "&lt;lambda>" in told


def test_reports_of_before_there_were_trials_are_read():
    record = REPORT.to_dict()
    added = ("trials", "sensitivity", "split", "difference", "groups", "mistakes", "profile")
    for name in (*added, "layers"):
        del record[name]
    for step in record["steps"]:
        for name in ("difference", "kl", "latency_ratio", "latencies_ms", "arena_bytes", "outputs"):
            del step[name]
        del step["step_before"]
    read = Report.from_dict(record)
    assert read.metric == "accuracy" and read.budgets == REPORT.budgets
    assert (read.trials, read.groups, read.profile, read.split) == ((), (), None, "")
    assert read.steps[1].skipped == PRUNED.skipped
    assert (read.steps[1].difference, read.steps[1].arena_bytes) == (None, None)
    assert read.changes() == dataclasses.replace(REPORT, steps=read.steps).changes()
    assert read.steps[1].step_before is None


def test_the_largest_drop_is_of_the_group_that_lost_most():
    assert REPORT.largest_drop == REPORT.groups[0]
    assert REPORT.largest_drop.significant
    gained = dataclasses.replace(REPORT, higher_is_better=False)
    assert gained.largest_drop is None


def test_changes_are_against_the_step_before_and_the_baseline():
    steps = (BASELINE, PRUNED, dataclasses.replace(PRUNED, bytes=7_000))
    before, baseline = dataclasses.replace(REPORT, steps=steps).changes()[1]
    assert before.bytes == 0.5
    assert baseline.bytes == 0.175
    assert before.metric == 0.0
    assert baseline.metric == pytest.approx(-0.02)


def test_a_step_is_compared_with_the_row_it_went_on_from():
    steps = [dataclasses.replace(PRUNED, bytes=size) for size in (30_000, 20_000, 10_000)]
    rows = (BASELINE, *steps[:2], dataclasses.replace(steps[2], step_before=1))
    report = dataclasses.replace(REPORT, steps=rows)
    before, baseline = report.changes()[-1]
    assert (before.bytes, baseline.bytes) == (10_000 / 30_000, 0.25)
    last = report.to_dict()["steps"][-1]
    assert last["step_before"] == 1 and last["change"]["step_before"]["bytes"] == 10_000 / 30_000
    assert report.to_markdown().count("| x0.33 |") == report.to_table().count("x0.33") == 1
    assert Report.from_dict(report.to_dict()) == report
    for wrong in (-1, 3, 4):
        record = report.to_dict()
        record["steps"][-1]["step_before"] = wrong
        with pytest.raises(ValueError, match=f"row 3 goes on from row {wrong}"):
            Report.from_dict(record)


def test_the_verdict_names_broken_budgets_only():
    assert not REPORT.kept
    assert REPORT.verdict == "BUDGET BROKEN: max_bytes 10,000: 14,000 bytes."
    kept = dataclasses.replace(REPORT, budgets=REPORT.budgets[:1])
    assert kept.kept
    assert kept.verdict == "Budgets kept: max_accuracy_drop 0.01: +0.0050 on 360 test samples."
    assert dataclasses.replace(REPORT, budgets=()).verdict == "No budget was set."


def test_a_small_metric_is_not_shown_as_zero():
    before, after = Score(2.5e-5, 2e-5, 3e-5, 90), Score(1.23e-5, 1e-5, 1.5e-5, 90)
    steps = (
        dataclasses.replace(BASELINE, validation=before),
        dataclasses.replace(PRUNED, validation=after, difference=None),
    )
    for shown in (str(Report("mse", False, steps)), Report("mse", False, steps).to_markdown()):
        assert "1.23e-05 [1e-05, 1.5e-05]" in shown
        assert "-1.27e-05" in shown
    assert str(Difference(-1.27e-5, -2e-5, -1e-6)) == ("-1.27e-05 (95 % interval -2e-05 to -1e-06)")
