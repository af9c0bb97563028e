"""A client that was not written here reads what is shipped: see scripts/check_mediapipe.sh."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hostile import DIGITS, HOSTILE

from tfopt.shipping import ship

PYTHON = os.environ.get("TFOPT_MEDIAPIPE_PYTHON")
CLIENT = Path(__file__).parent / "mediapipe_client.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="needs scripts/check_mediapipe.sh"),
]


@pytest.mark.parametrize("names", [tuple("0123456789"), HOSTILE], ids=["digits", "hostile"])
@pytest.mark.filterwarnings("ignore:A name would have broken")
def test_mediapipe_classifies_as_the_report_claims(tmp_path, digits, names):
    folder = ship(DIGITS, platform="python", output=tmp_path / "app", class_names=names)
    pixels = np.rint(digits.test.x * 255).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=np.repeat(pixels, 3, axis=-1), y=digits.test.y)
    claimed = json.loads((DIGITS / "report.json").read_text())["steps"][-1]["test"]["value"]
    done = subprocess.run(
        [PYTHON, CLIENT, folder, tmp_path / "images.npz", str(claimed)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.filterwarnings("ignore")
def test_mediapipe_normalizes_for_a_float_file(tmp_path, digits, saved, trained):
    import tfopt
    from tfopt.testing import small_cnn

    tflite = tfopt.convert(trained(small_cnn), target=tfopt.Target.float32())
    result = saved(tflite, class_names=list("0123456789"), ranges={"": (0.0, 1.0)})
    folder = ship(result, platform="python", output=tmp_path / "app")
    pixels = np.rint(digits.test.x * 255).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=np.repeat(pixels, 3, axis=-1), y=digits.test.y)
    accuracy = tfopt.evaluate(tflite, task=digits, split="test").value
    done = subprocess.run(
        [PYTHON, CLIENT, folder, tmp_path / "images.npz", str(accuracy)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
