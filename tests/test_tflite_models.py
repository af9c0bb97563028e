"""The shipped files are what their recipes name, and give the accuracy their reports claim."""

import hashlib
import json
from pathlib import Path

import pytest

import tfopt

MODELS = sorted((Path(__file__).parent.parent / "tflite_models").glob("*/model.tflite"))


def test_there_are_shipped_models():
    assert MODELS


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.parent.name)
def test_a_shipped_file_is_as_good_as_its_report_says(file):
    recipe = tfopt.Recipe.load(file.parent)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == recipe.made_from["tflite_sha256"]
    report = tfopt.Report.from_dict(json.loads((file.parent / "report.json").read_text()))
    task = tfopt.Task.from_source(recipe.made_from["source"])
    claimed = report.steps[-1].test
    measured = tfopt.evaluate(file, task=task, split="test")
    # other CPUs have other kernels, which may round a few outputs otherwise
    assert abs(measured.value - claimed.value) <= 2 / claimed.samples
    assert tfopt.inspect(file).integer_only
    assert file.stat().st_size <= 300_000
