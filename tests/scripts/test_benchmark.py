import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def evaluation():
    sys.path.insert(0, str(SCRIPTS))
    from benchmarks import evaluation

    yield evaluation
    sys.path.remove(str(SCRIPTS))


def test_the_suite_runs_and_every_way_finds_the_same_accuracy():
    """Else it exits with an error."""
    done = subprocess.run(
        [sys.executable, SCRIPTS / "benchmark.py", "--suite=evaluation", "--smoke"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "### digits CNN, int8: 200 images, 1 rounds" in done.stdout
    assert re.search(r"\| tfopt.evaluate \| [\d,]+ \| [\d,]+ \| [\d.]+ \|", done.stdout)
    assert len(re.findall(r"\| one by one \| [\d,]+ \| [\d,]+ \| 1\.00 \|", done.stdout)) == 2


def test_an_unknown_suite_is_refused():
    done = subprocess.run(
        [sys.executable, SCRIPTS / "benchmark.py", "--suite=speed"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "value should be one of <evaluation" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("ours", "missed"),
    [
        ([0.5, 0.5], []),
        (
            [1.0, 1.0],
            ["net: 1.00 times one by one, goal 2.00", "net: 0.50 times batches, goal 0.90"],
        ),
        ([0.55, 0.45], []),
    ],
)
def test_goals_are_judged_by_the_ratio_of_each_round(evaluation, ours, missed):
    net = evaluation.Net("net", b"", (1, 1, 1), 100, evaluation.Goal(over_one_by_one=2.0))
    seconds = {"one by one": [1.0, 1.0], "batches": [0.5, 0.5], evaluation.OURS: ours}
    assert evaluation._missed(net, seconds) == missed
    table = evaluation._table(net, seconds)
    assert "| one by one | 100 | 100 | 1.00 |" in table
    assert "of the best by hand, batches (goal: 0.90)." in table


def test_ways_by_hand_cover_every_image(evaluation, float_file, int8_file, images):
    from tfopt.tflite.interpreter import TFLiteModel

    for file in (float_file, int8_file):
        labels = TFLiteModel(file).predict(images)[0].argmax(axis=1)
        labels[:15] += 1
        for name, way in evaluation.by_hand.all_ways(2).items():
            if "processes" in name:
                continue  # this process has threads, and must not be forked; the suite's has none
            assert way(file, images, labels) == 0.9, name


def test_ways_that_disagree_stop_the_suite(evaluation, float_file, monkeypatch):
    ways = {"one by one": lambda *_: 0.9}
    monkeypatch.setattr(evaluation.by_hand, "all_ways", lambda cores: ways)
    net = evaluation.Net("net", float_file, (8, 8, 1), 100, evaluation.TINY)
    with pytest.raises(SystemExit, match=r"The ways disagree on net: .*'one by one': 0.9"):
        evaluation._measure(net, 1)


def test_images_are_cut_for_odd_counts(evaluation, float_file):
    x = np.random.default_rng(0).random((13, 8, 8, 1), np.float32)
    way = evaluation.by_hand.in_python_threads(4, 3)
    assert way(float_file, x, np.full(13, 99)) == 0.0
