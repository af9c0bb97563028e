"""A saved result without a training: a real file, and records that speak of it."""

import dataclasses
import hashlib
import json

import pytest
from test_report import PRUNED, REPORT

RECIPE = {
    "techniques": [{"technique": "MagnitudePruning", "sparsity": 0.5}],
    "target": {"numerics": "int8", "max_bytes": 10_000},
    "seed": 0,
    "made_from": {"source": {"kind": "digits"}, "data": "ab12", "baseline": "cd34"},
}


@pytest.fixture
def make_result(int8_file, tmp_path):
    """Writes the directory of a result, with other files or keys if told so."""

    def make(name="result", *, tflite=int8_file, report=REPORT, **changes):
        folder = tmp_path / name
        folder.mkdir()
        last = dataclasses.replace(PRUNED, bytes=len(tflite))
        report = dataclasses.replace(report, steps=(*report.steps[:-1], last))
        (folder / "report.json").write_text(json.dumps(report.to_dict()))
        made = RECIPE["made_from"] | {"tflite_sha256": hashlib.sha256(tflite).hexdigest()}
        recipe = RECIPE | {"made_from": made} | changes
        (folder / "recipe.json").write_text(json.dumps(recipe))
        (folder / "model.tflite").write_bytes(tflite)
        return folder

    return make
