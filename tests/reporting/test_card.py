"""The model card: its words against a golden file, and what a report without figures says."""

import dataclasses
import os
from pathlib import Path

from test_report import BASELINE, REPORT

from tfopt.report import Group, Report
from tfopt.reporting.card import TO_FILL_IN, model_card

GOLDEN = Path(__file__).parent.parent / "golden"


def test_the_card_is_as_it_was(make_result):
    from tfopt.reporting.saved import read_result

    recipe = read_result(make_result()).recipe
    del recipe["made_from"]["tflite_sha256"]
    told = model_card(REPORT, recipe=recipe, name="digits")
    golden = GOLDEN / "model_card.md"
    if os.environ.get("TFOPT_GOLDEN") == "write":
        golden.write_text(told)
    assert told == golden.read_text()


def test_what_only_a_person_knows_is_marked():
    told = model_card(REPORT)
    for heading in ("Model", "Intended use", "Data", "Limits", "Licence"):
        section = told.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        assert TO_FILL_IN in section


def test_a_report_without_groups_says_that_nothing_is_known():
    told = model_card(Report("mae", False, (BASELINE,)))
    assert "Not measured." in told and "`groups=`" in told
    assert "less is better" in told
    untested = model_card(Report("mae", False, (dataclasses.replace(BASELINE, test=None),)))
    assert "No test samples: the figures below are of data that choices were made on." in untested


def test_the_file_is_named_by_its_checksum_and_tensors(int8_file):
    told = model_card(REPORT, tflite=int8_file)
    assert "| SHA-256 of model.tflite | `" in told
    assert "int8 [-1, 8, 8, 1], real = " in told


def test_names_start_no_tags_and_end_no_cells():
    evil = "<script>|\n# a heading" + "x" * 10_000
    group = Group(evil, "class", 3, reason=evil)
    last = dataclasses.replace(REPORT.steps[-1], warnings=(evil,))
    report = dataclasses.replace(REPORT, metric=evil, groups=(group,), steps=(BASELINE, last))
    recipe = {"techniques": [], "target": {}, "seed": 0, "made_from": {"source": {"name": evil}}}
    told = model_card(report, recipe=recipe, name=evil)
    assert "<script>" not in told
    assert "\n# a heading" not in told
