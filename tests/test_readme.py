"""The Python code of the README runs as it stands."""

import re
from pathlib import Path

import pytest

from tfopt.keras_gate import tf_keras
from tfopt.testing import small_cnn

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: code.strip().splitlines()[-1][:40])
def test_the_code_of_the_readme_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = small_cnn()
    assert isinstance(model, tf_keras.Model)
    model.save("my_model.keras")
    exec(compile(code, "README.md", "exec"), {})


def test_the_readme_names_commands_that_exist():
    for command in re.findall(r"^(scripts/\S+)", (ROOT / "README.md").read_text(), re.M):
        assert (ROOT / command).exists(), command
