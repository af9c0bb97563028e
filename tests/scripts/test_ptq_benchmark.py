import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def ptq():
    sys.path.insert(0, str(SCRIPTS))
    from benchmarks import ptq

    yield ptq
    sys.path.remove(str(SCRIPTS))


def cells(ptq, whole, eight, plain, four, peer):
    """A net's cells with the accuracies given."""
    return [
        ptq.Cell(ptq.FLOAT, ptq.FLOAT, False, whole),
        ptq.Cell(ptq.DEFAULT, "int8", False, eight),
        ptq.Cell(ptq.CONVERTER, "int8", True, plain),
        ptq.Cell(ptq.DEFAULT, "int4", False, four),
        ptq.Cell("a peer", "int4", True, peer, integer_only=True),
        ptq.Cell("a peer that stays in float", "int4", True, 0.99),
        ptq.Cell("a peer that fails", "int4", True, error="RuntimeError: no"),
    ]


@pytest.mark.parametrize(
    ("accuracies", "missed"),
    [
        ((0.84, 0.839, 0.838, 0.835, 0.80), []),
        (
            (0.84, 0.83, 0.835, 0.80, 0.79),
            [
                "net: int8 within 0.2 points of float",
                "net: int8 never below the plain converter",
                "net: int4 within 1 point of float",
                "net: int4 2 points above the best peer",
            ],
        ),
    ],
)
def test_goals_are_judged_by_what_was_measured(ptq, accuracies, missed):
    assert ptq._missed("net", cells(ptq, *accuracies)) == missed


def test_a_peer_that_fails_is_in_the_table_with_its_error(ptq):
    table = ptq._table("net", cells(ptq, 0.84, 0.83, 0.82, 0.81, 0.8), {(ptq.DEFAULT, "int8"): 0.5})
    assert "no file: RuntimeError: no" in table
    assert "| int8 | tfopt | 83.00%" in table and "| 0.500 |" in table


def test_a_cell_whose_process_died_is_told_and_not_kept(ptq, tmp_path):
    class Died(ptq.Apart):
        def call(self, function, *arguments):
            return super().call(os._exit, 1)

    settings = ptq.Settings(cache=tmp_path)
    with Died() as apart:
        cell = ptq._cell("digits", ptq._float_way(), settings, apart)
    assert cell.error == "GoneError: the process died"
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.slow
def test_the_suite_runs_and_goes_on_where_it_was(tmp_path):
    command = [sys.executable, SCRIPTS / "benchmark.py", "--suite=ptq", "--smoke"]
    command += [f"--cache={tmp_path}", f"--docs={tmp_path}/docs"]
    first, second = (subprocess.run(command, capture_output=True, text=True) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert "### digits stressed" in first.stdout and "| int8 | tfopt |" in first.stdout
    assert (tmp_path / "docs" / "post_training.md").read_text() in second.stdout
    assert "digits stressed: int8 tfopt" in first.stderr
    assert "digits stressed: int8 tfopt" not in second.stderr
