"""The shipped files are what their recipes name, and give the accuracy their reports claim."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfopt

ROOT = Path(__file__).parent.parent
MODELS = sorted((ROOT / "tflite_models").glob("*/model.tflite"))


def test_what_is_shipped_is_what_the_script_makes_and_the_page_shows():
    command = [sys.executable, str(ROOT / "scripts" / "build_zoo.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert MODELS


def test_the_checksums_are_those_of_the_files():
    lines = (ROOT / "tflite_models" / "SHA256SUMS").read_text().splitlines()
    listed = {name: checksum for checksum, name in (line.split() for line in lines)}
    assert listed == {
        f"{file.parent.name}/model.tflite": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in MODELS
    }


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.parent.name)
def test_a_shipped_file_is_as_good_as_its_report_says(file):
    recipe = tfopt.Recipe.load(file.parent)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == recipe.made_from["tflite_sha256"]
    assert file.stat().st_size <= 300_000
    integer = recipe.target.numerics != "float32"
    assert tfopt.inspect(file).integer_only == integer
    report = tfopt.Report.from_dict(json.loads((file.parent / "report.json").read_text()))
    # only what is at hand: nothing is downloaded for a test
    data_dir = os.environ.get("TFOPT_DATA_DIR")
    source = recipe.made_from["source"]
    if source["kind"] != "digits" and data_dir is None:
        pytest.skip("TFOPT_DATA_DIR does not say where TFDS sets are prepared")
    task = tfopt.Task.from_source(source, data_dir=data_dir)
    claimed = report.steps[-1].test
    measured = tfopt.evaluate(file, task=task, split="test")
    # other CPUs have other kernels, which may round a few outputs otherwise
    assert abs(measured.value - claimed.value) <= max(2, claimed.samples // 1000) / claimed.samples
