"""Every recipe runs in smoke mode and writes a whole result."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfopt
from tfopt.testing import small_cnn
from tfopt.training import fine_tune, steps_per_epoch

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("[0-9]*.py"))


def test_there_is_a_recipe_for_each_collaborative_combination():
    assert len(RECIPES) == 12


# one without training, one with; a chain runs in the README, the others take as long each
_QUICK = ("01", "04")


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem[:2] in _QUICK else pytest.mark.slow)
        for path in RECIPES
    ],
)
def test_recipe_runs(recipe, tmp_path):
    output = tmp_path / "result"
    command = [sys.executable, str(recipe), "--smoke", f"--output={output}"]
    command += [f"--baselines={tmp_path / 'cache'}", "--dataset=digits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "conversion only" in done.stdout
    assert f"wrote {output / 'model.tflite'}" in done.stdout
    assert f"The report: {output / 'report.html'}" in done.stdout.splitlines()[-1]
    assert tfopt.inspect(output / "model.tflite").integer_only
    report = tfopt.Report.from_dict(json.loads((output / "report.json").read_text()))
    written = tfopt.Recipe.load(output)
    assert len(report.steps) == 2 + len(written.techniques)
    assert len(recipe.read_text().splitlines()) <= 60


@pytest.mark.parametrize(
    ("setting", "told"),
    [("--sparsity=80", "Received sparsity=80.0"), ("--epochs=-1", "Received epochs=-1.0")],
)
def test_what_a_recipe_refuses_is_one_line(setting, told, tmp_path):
    recipe = next(path for path in RECIPES if path.stem.startswith("02"))
    command = [sys.executable, str(recipe), "--smoke", setting, f"--output={tmp_path / 'result'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"{recipe.name}: {told}")
    assert "Traceback" not in done.stderr


@pytest.fixture
def baselines(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES[0].parent))
    return importlib.import_module("baselines")


def test_a_baseline_is_trained_in_parts(baselines, digits, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(
        baselines, "augmented", lambda task, augmentation: seeds.append(task.seed) or task
    )
    with pytest.raises(baselines.UnfinishedError, match=f"of {2 * steps_per_epoch(digits)} steps"):
        baselines.load_or_train(digits, epochs=(2.0, 1.0), cache=tmp_path, minutes=0)
    assert len(list(tmp_path.glob("*.part.npz"))) == 1
    model = baselines.load_or_train(digits, epochs=(2.0, 1.0), cache=tmp_path, minutes=0)
    assert len(set(seeds)) == 3  # an epoch; another; the second cycle
    assert len(list(tmp_path.glob("*"))) == 2
    assert tfopt.evaluate(model, task=digits, split="validation").value > 0.9
    before = model.get_weights()
    again = baselines.load_or_train(digits, epochs=(2.0, 1.0), cache=tmp_path, minutes=0)
    assert all(map(np.array_equal, before, again.get_weights()))


def test_what_is_kept_of_a_training_is_all_of_it(baselines, digits, tmp_path):
    steps = steps_per_epoch(digits)
    kept = baselines._Kept(tmp_path / "kept.npz", 2 * steps, end=0.0)
    trained = small_cnn()
    fine_tune(trained, digits, epochs=2, learning_rate=0.01, callbacks=[kept])
    assert kept.steps == steps
    assert not kept.is_done

    fresh = small_cnn()
    fresh.compile(type(trained.optimizer).from_config(trained.optimizer.get_config()))
    again = baselines._Kept(kept.file, 2 * steps, end=None)
    again.set_model(fresh)
    again.on_train_begin()
    assert again.steps == steps
    assert again.kept_steps == steps
    before, after = kept._state(), again._state()
    assert before.keys() == after.keys()
    for name, variable in before.items():
        assert variable.name == after[name].name
        np.testing.assert_array_equal(variable, after[name])


def test_each_image_is_shifted_and_mirrored_by_itself(baselines):
    images, labels = np.random.default_rng(0).random((16, 32, 40, 3), np.float32), np.arange(16)
    loss = "sparse_categorical_crossentropy"
    task = tfopt.Task.from_arrays((images, labels), (images, labels), loss=loss)
    moved = baselines.augmented(task, "flip and shift each").augment(images).numpy()
    around = np.pad(images, [(0, 0), (4, 4), (5, 5), (0, 0)], "reflect")
    found = set()
    for image, wide in zip(moved, around, strict=True):
        crops = {
            (y, x, step): wide[y : y + 32, x : x + 40][:, ::step]
            for y in range(9) for x in range(11) for step in (1, -1)
        }  # fmt: skip
        (place,) = (at for at, crop in crops.items() if np.array_equal(crop, image))
        found.add(place)
    assert len(found) > 12
