"""Two results side by side."""

import dataclasses
import os
from pathlib import Path

import pytest
from test_html import Parsed
from test_report import BASELINE, PRUNED, REPORT

from tfopt import cli
from tfopt.report import Report
from tfopt.reporting.comparing import compare_results
from tfopt.reporting.saved import SavedResult

GOLDEN = Path(__file__).parent.parent / "golden"
RECIPE = {
    "techniques": [{"technique": "MagnitudePruning", "sparsity": 0.5}],
    "target": {"numerics": "int8"},
    "seed": 0,
    "made_from": {"data": "ab12"},
}
FIRST = SavedResult("first", REPORT, RECIPE, b"first file")


@pytest.fixture(scope="module")
def second():
    last = dataclasses.replace(PRUNED, bytes=7_000, arena_bytes=None, test=None)
    report = dataclasses.replace(REPORT, steps=(BASELINE, PRUNED, last), budgets=())
    report = dataclasses.replace(report, environment={"machine": "another board"})
    steps = [{"technique": "MagnitudePruning", "sparsity": 0.8}, {"technique": "QuantizationAware"}]
    recipe = RECIPE | {"techniques": steps, "made_from": {"data": "ef56"}}
    return SavedResult("second", report, recipe, b"second file")


def test_the_text_is_as_it_was_and_fits_a_terminal(second):
    told = f"{compare_results(FIRST, second)}\n"
    golden = GOLDEN / "diff.txt"
    if os.environ.get("TFOPT_GOLDEN") == "write":
        golden.write_text(told)
    assert told == golden.read_text()
    assert max(map(len, told.splitlines())) <= 120


def test_what_cannot_be_compared_is_said(second):
    notes = " ".join(compare_results(FIRST, second).notes)
    assert "The data differs" in notes and "latencies cannot be compared" in notes
    other = dataclasses.replace(FIRST, report=Report("mae", False, (BASELINE,)))
    told = str(compare_results(FIRST, other))
    assert "The metrics differ: accuracy and mae." in told
    assert "accuracy (test)" in told and "mae (test)" in told


def test_the_page_is_whole_and_escaped(second):
    evil = dataclasses.replace(second, name="<script>" + "n" * 10_000)
    parsed = Parsed(compare_results(FIRST, evil).to_html())
    assert len(parsed.all("script")) == 1
    assert len(parsed.all("table")) == 5
    assert "differs" in parsed.words


def test_the_command_prints_and_writes(make_result, tmp_path, capsys):
    folders = [str(make_result(name)) for name in ("first", "second")]
    page = tmp_path / "diff.html"
    assert cli.main(["diff", *folders, f"--html={page}"]) == 0
    told = capsys.readouterr().out
    assert "The two files are the same, byte for byte." in told
    assert told.endswith(f"Wrote {page}\n") and page.read_text().startswith("<!DOCTYPE html>")
    page.write_text("my notes")
    assert cli.main(["diff", *folders, f"--html={page}"]) == 2
    assert "which exists" in capsys.readouterr().err and page.read_text() == "my notes"
    assert cli.main(["diff", *folders, f"--html={page}", "--overwrite"]) == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert cli.main(["diff", folders[0]]) == 2
    assert "expected two arguments, DIRECTORY_A DIRECTORY_B" in capsys.readouterr().err
