"""Saved results around small files, without optimizing anything."""

import hashlib
import json

import pytest
from hostile import DIGITS


@pytest.fixture
def saved(tmp_path):
    """Writes a result of a file: `saved(tflite, class_names=..., low=..., high=...)`."""

    def write(tflite, *, name="result", class_names=None, ranges=None, images=False):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.tflite").write_bytes(tflite)
        report = json.loads((DIGITS / "report.json").read_text())
        report["steps"][-1]["bytes"] = len(tflite)
        (folder / "report.json").write_text(json.dumps(report))
        inputs = [
            {"name": n, "low": low, "high": high} for n, (low, high) in (ranges or {}).items()
        ]
        usage = {"class_names": class_names, "inputs": inputs, "images": images}
        made_from = {"tflite_sha256": hashlib.sha256(tflite).hexdigest(), "usage": usage}
        recipe = {"techniques": [], "target": {"numerics": "int8"}, "seed": 0}
        (folder / "recipe.json").write_text(json.dumps(recipe | {"made_from": made_from}))
        return folder

    return write
