import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tfopt

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def benchmarks():
    sys.path.insert(0, str(SCRIPTS))
    import benchmarks
    from benchmarks import cells, frontier, frontier_page, frontier_rows, frontier_table  # noqa: F401

    yield benchmarks
    sys.path.remove(str(SCRIPTS))


@pytest.fixture
def table(benchmarks):
    return benchmarks.frontier_table


def made(table, name, accuracy, size, owner="tfopt", deflated=None):
    return table.Cell(
        name,
        owner,
        1.0,
        accuracy=accuracy,
        low=accuracy - 0.01,
        high=accuracy + 0.01,
        bytes=size,
        deflated=deflated or size,
        integer_only=True,
    )


@pytest.fixture
def cells(table):
    return [
        made(table, table.FLOAT, 0.90, 400, ""),
        made(table, table.CONVERTER, 0.90, 100, ""),
        made(table, "peer QAT", 0.90, 100, "TF-MOT", 68),
        made(table, "peer prune", 0.85, 100, "TF-MOT", 40),
        made(table, "ours", 0.892, 40),
        made(table, "ours QAT", 0.90, 100),
    ]


def times(table, cells, *milliseconds):
    return table.Latencies({c.name: [t, t] for c, t in zip(cells, milliseconds, strict=True)})


def test_goals_are_judged_on_what_is_within_a_point_of_float(table, cells):
    goals = table.goals(cells, times(table, cells, 3, 2, 2, 2, 1, 2))
    assert [goal.met for goal in goals] == [True, True, True, False, True]
    assert goals[0].told == "ours: 2.00 times faster and 2.50 times smaller."
    assert "(peer QAT, 68 bytes deflated)" in goals[1].text
    assert goals[3].told == "Outside: peer QAT."  # as accurate as ours QAT, and smaller
    assert str(goals[4]).startswith("Met: no point of a peer's front of accuracy against latency")


def test_a_file_too_slow_or_too_inaccurate_misses(table, cells):
    slow = table.goals(cells, times(table, cells, 3, 2, 2, 2, 1.01, 2))
    assert not slow[0].met and "1.98 times faster" in slow[0].told
    cells[4:] = [made(table, "ours", 0.889, 40)]
    lost = table.goals(cells, times(table, cells, 3, 2, 2, 2, 1))
    assert [goal.met for goal in lost] == [False, False, False, False, False]
    assert lost[0].told == "No row of tfopt's is within it."


def test_without_a_good_peer_the_plain_file_is_what_is_compared(table, cells):
    del cells[2]
    goals = table.goals(cells, times(table, cells, 3, 2, 2, 1, 2))
    assert "TensorFlow's converter, 100 bytes deflated" in goals[1].text and goals[1].met


def test_the_table_tells_why_there_is_no_file(table, cells):
    cells.append(table.Cell("peer PCQAT", "TF-MOT", 1.0, error="ValueError: no"))
    timed = times(table, cells[:-1], *range(6))
    text = table.table(cells, timed)
    assert len(table.goals(cells, timed)) == 5
    assert "| peer PCQAT | no file: ValueError: no |" in text
    assert "| ours | 89.20% (88.20% to 90.20%) | 40 | 40 | 0 | 4.000 (4.000) | 1 | 0 |" in text


def test_every_row_of_a_net_is_trained_as_long(benchmarks):
    module = benchmarks.frontier_rows
    for net in (*module.NETS, *module.QUICK_NETS, *module.SMOKE_NETS):
        rows = module.rows(net)
        assert len({row.name for row in rows}) == len(rows)
        for row in rows:
            trained = row.owner and not row.name.startswith("tfopt: conversion")
            assert row.epochs == pytest.approx(net.epochs if trained else 0), row.name
        assert {row.owner for row in module.smoke_rows(net)} == {"", "TF-MOT", "tfopt"}


def test_rows_that_begin_alike_share_the_training_and_no_other(benchmarks):
    module = benchmarks.frontier_rows
    resnet, depthwise = module.NETS
    eight, four = (
        next(
            row
            for row in module.rows(resnet)
            if row.name == f"tfopt: many channels off, {bits} bits"
        )
        for bits in (8, 4)
    )
    assert eight.key(resnet, 2) == four.key(resnet, 2) != eight.key(resnet, 1)
    assert eight.key(resnet, 2) != eight.key(depthwise, 2)
    keys = [row.key(net) for net in module.NETS for row in module.rows(net)]
    assert len(set(keys)) == len(keys)


def test_a_part_ends_in_time_and_takes_what_is_asked_for(benchmarks):
    settings = benchmarks.Settings(only="resnet8/*", part_minutes=60)
    part = benchmarks.frontier._Part(settings)
    assert part.takes("resnet8/QAT") and not part.takes("mnist/QAT") and part.left == ["mnist/QAT"]
    over = benchmarks.frontier._Part(benchmarks.Settings(part_minutes=0))
    assert not over.takes("mnist/QAT") and over.left == ["mnist/QAT"]


def test_a_baseline_is_trained_as_far_as_the_time_goes(benchmarks, tmp_path):
    net = dataclasses.replace(benchmarks.frontier_rows.SMOKE_NETS[0], baseline_epochs=(2.0,))
    bench = benchmarks.frontier._Bench(net, benchmarks.Settings(cache=tmp_path))
    assert not bench.train_baseline(minutes=0)
    assert bench.train_baseline(minutes=0)


def test_the_page_shows_tables_goals_and_fronts(benchmarks, table, cells, tmp_path):
    pytest.importorskip("matplotlib")
    net = benchmarks.frontier_rows.SMOKE_NETS[0]
    settings = benchmarks.Settings(docs=tmp_path)
    timed = table.Latencies(*2 * [times(table, cells, 3, 2, 2, 2, 1, 2).plain])
    page = benchmarks.frontier_page.write([net], {net.name: cells}, {net.name: timed}, settings)
    assert (tmp_path / "frontier.md").read_text() == page
    assert "- Met: within 1 point of float, 2 times faster (latency without tiles)" in page
    drawn = (tmp_path / "frontier.svg").read_text()
    assert "latency without tiles, ms" in drawn and "TF-MOT" in drawn
    before = benchmarks.frontier_page.write(
        [net], {net.name: cells[:2]}, {net.name: None}, settings
    )
    assert "frontier.svg" not in before and "Met:" not in before


def test_what_is_kept_is_not_made_again(benchmarks, tmp_path):
    cells = benchmarks.cells
    record = benchmarks.frontier.Training
    first = cells.kept(tmp_path / "a" / "step.json", record, lambda: record(3.0))
    again = cells.kept(tmp_path / "a" / "step.json", record, lambda: record(4.0))
    assert first == again == record(3.0)
    (file,) = (tmp_path / "a").iterdir()
    assert file.name == "step.json"
    assert json.loads(file.read_text())["tfopt"] == tfopt.__version__
    file.write_text('{"seconds": 5.0, "error": ""}')  # as it was kept before versions were
    assert cells.kept(file, record, lambda: record(4.0)) == record(5.0)


@pytest.mark.parametrize(
    ("ends", "argument", "told"),
    [(os._exit, 1, "the process died"), (time.sleep, 600, "the process took more than 3 s")],
)
def test_a_cell_whose_process_is_gone_is_told_and_not_kept(
    benchmarks, tmp_path, monkeypatch, ends, argument, told
):
    frontier = benchmarks.frontier
    settings = benchmarks.Settings(smoke=True, cache=tmp_path)
    bench = frontier._Bench(benchmarks.frontier_rows.SMOKE_NETS[0], settings)
    part = frontier._Part(settings)
    with benchmarks.cells.Apart(3) as apart:
        call = apart.call
        monkeypatch.setattr(apart, "call", lambda *_: call(ends, argument))
        rows = frontier._Rows(bench, apart, part)
        rows._baseline_is_there = True
        cell = rows._cell(bench.rows[0])
        assert told in cell.error and part.left == [f"digits/{cell.name}"]
        assert not list(tmp_path.rglob("*.json"))
        assert call(divmod, 7, 2) == (3, 1)  # there is a process again
        monkeypatch.setattr(apart, "call", lambda *_: call(divmod, 1, 0))
        assert "ZeroDivisionError" in rows._cell(bench.rows[0]).error
    assert len(list(tmp_path.rglob("*.json"))) == 1


@pytest.mark.slow
def test_the_suite_runs_in_parts_and_goes_on_where_it_was(tmp_path):
    def run(*flags):
        command = [sys.executable, SCRIPTS / "benchmark.py", "--suite=frontier", "--smoke"]
        command += [f"--cache={tmp_path}", f"--docs={tmp_path}/docs", *flags]
        return subprocess.run(command, capture_output=True, text=True)

    first = run("--only=digits/*float32*")
    assert first.returncode == 2 and "Left for another run: digits/TensorFlow's" in first.stderr
    second = run()
    assert second.returncode == 0, second.stderr
    assert re.search(r"\| tfopt: channels off, 8 bits \| \d\d\.\d\d% \(", second.stdout)
    assert (tmp_path / "docs" / "frontier.svg").exists()
    assert "no file" not in second.stdout
    stored = json.loads((tmp_path / "frontier" / "digits" / "latency.json").read_text())
    third = run()
    assert third.stdout == second.stdout and "step 1" in second.stderr
    assert "step 1" not in third.stderr
    assert set(stored["plain"]) == set(stored["files"])
