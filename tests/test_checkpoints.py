"""What a chain has made is not made again: after a stop it goes on where it was."""

import dataclasses
import functools
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt import cache
from tfopt.cache import CorruptCacheWarning
from tfopt.checkpoints import Checkpoints, RestoredWarning
from tfopt.fingerprints import fingerprint
from tfopt.keras_gate import tf_keras
from tfopt.testing import small_cnn

STEPS = [
    tfopt.MagnitudePruning(sparsity=0.5, epochs=0.5, teacher="baseline"),
    tfopt.QuantizationAware(epochs=0.2),
]
TARGET = tfopt.Target.int8()


@pytest.fixture(scope="module")
def task():
    return tfopt.Task.digits()


@pytest.fixture(scope="module")
def model():
    return small_cnn()


@pytest.fixture(scope="module")
def stopped(model, task, tmp_path_factory):
    """A chain that broke in its last step, and what it kept."""
    cache = tmp_path_factory.mktemp("cache")

    class Broken(tfopt.QuantizationAware):
        def apply(self, model, task):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steps = [STEPS[0], Broken(epochs=0.2)]
        tfopt.optimize(model, steps, task=task, target=TARGET, cache=cache)
    return cache


def test_a_chain_that_was_stopped_goes_on_and_makes_the_same(stopped, model, task):
    whole = tfopt.optimize(model, STEPS, task=task, target=TARGET)
    assert len(list(stopped.iterdir())) == 1
    with pytest.warns(RestoredWarning, match="MagnitudePruning is not applied again"):
        resumed = tfopt.optimize(model, STEPS, task=task, target=TARGET, cache=stopped)
    assert resumed.tflite == whole.tflite
    assert resumed.recipe.techniques == whole.recipe.techniques
    for one, other in zip(resumed.report.steps, whole.report.steps, strict=True):
        assert (one.settings, one.validation) == (other.settings, other.validation)
        assert [each.losses for each in one.trainings] == [each.losses for each in other.trainings]
    with pytest.warns(RestoredWarning) as told:  # all of it, the quantization-aware model too
        again = tfopt.optimize(model, STEPS, task=task, target=TARGET, cache=stopped)
    assert len([each for each in told if each.category is RestoredWarning]) == 2
    assert again.tflite == whole.tflite
    assert again.model.output_names == whole.model.output_names


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"batch_size": 16}, {"augment": lambda images: images}, {"loss": "mse"}],
    ids=lambda change: next(iter(change)),
)
def test_what_depends_on_something_else_is_made_anew(change, model, task, tmp_path):
    other = dataclasses.replace(task, **change)
    kept = [Checkpoints(tmp_path, each) for each in (task, other)]
    places = {each.place(STEPS[0], model) for each in kept}
    assert len(places) == 2


@pytest.mark.parametrize("file", ["other.h5", "other"], ids=["file", "SavedModel"])
@pytest.mark.parametrize("setting", ["student", "teacher"])
def test_a_model_that_is_trained_anew_under_its_path_is_another(
    setting, file, model, task, tmp_path
):
    path = tmp_path / file
    kept, step = Checkpoints(tmp_path, task), tfopt.Distillation(**{setting: str(path)})
    tfopt.save_model(model, path)
    places = [kept.place(step, model), kept.place(step, model)]
    other = tfopt.load_model(model)
    other.layers[-1].bias.assign_add(tf.ones(10))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    tfopt.save_model(other, path)
    assert places[0] == places[1] != kept.place(step, model)


def functions(text, **read):
    """A module's functions: `text` is the file, what it reads else is given."""
    exec(text, module := {"__name__": __name__, "tf": tf, **read})
    return module["changed"]


HELPED = """
def helped(x): return helped(x - RATE) if x else x
def changed(x): return [helped(y) for y in x]
"""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (functions("def changed(x, *, r=0.1): 0"), functions("def changed(x, *, r=0.9): 0")),
        *(
            (functions(text, RATE=0.1), functions(text, RATE=0.9))
            for text in (
                "def changed(x): return x * RATE",
                "def changed(x): return tf.map_fn(lambda image: image * RATE, x)",
                HELPED,
            )
        ),
        (
            functions("def changed(x): return x * RATE", RATE=np.zeros(9999)),
            functions("def changed(x): return x * RATE", RATE=np.eye(1, 9999, 5000)[0]),
        ),
    ],
    ids=["keyword", "global", "nested", "helper", "array"],
)
def test_functions_that_differ_in_what_they_read_are_others(one, other, model, task, tmp_path):
    kept = [Checkpoints(tmp_path, dataclasses.replace(task, augment=f)) for f in (one, other)]
    assert len({each.place(STEPS[0], model) for each in kept}) == 2


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, images):
        return images * self.factor

    def method(self, images):
        return images * self.factor


def captured(factor):
    def changed(images):
        return images * factor

    return changed


@pytest.mark.parametrize(
    "made",
    [
        captured,
        Scaled,
        lambda factor: Scaled(factor).method,
        lambda factor: functools.partial(tf.multiply, factor),
        lambda factor: captured(captured(factor)),
        lambda factor: captured(tf_keras.layers.Rescaling(factor)),
    ],
    ids=["closure", "object", "method", "partial", "nested", "layer"],
)
def test_functions_that_hold_different_values_are_others_though_one_takes_the_place_of_another(
    made,
):
    keys = {cache.key(function=fingerprint(made(factor))) for factor in range(9)}
    assert len(keys) == 9


@pytest.mark.parametrize("made", [captured, lambda factor: functools.partial(tf.multiply, factor)])
def test_functions_that_hold_the_same_values_are_the_same(made):
    assert fingerprint(made(2)) == fingerprint(made(2)) != fingerprint(made(3))
    layers = [tf_keras.layers.Dense(2) for _ in range(2)]
    for layer in layers:
        layer.build((None, 3))
    assert len({cache.key(layer=fingerprint(captured(layer))) for layer in layers}) == 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Third(tfopt.MagnitudePruning):
    """A technique of another package."""

    strength: float = 1.0


def test_a_technique_of_another_package_is_kept_and_its_recipe_read(model, task, tmp_path):
    step = Third(sparsity=0.5, epochs=0.2, strength=2.0)
    result = tfopt.optimize(model, [step], task=task, target=TARGET, cache=tmp_path / "cache")
    result.save(tmp_path / "result")
    with pytest.warns(RestoredWarning, match="Third is not applied again"):
        again = tfopt.optimize(model, [step], task=task, target=TARGET, cache=tmp_path / "cache")
    assert again.tflite == result.tflite
    assert tfopt.Recipe.load(tmp_path / "result").techniques == (step,)


def test_what_is_reproduced_is_made_again_whatever_is_kept(model, task, tmp_path, monkeypatch):
    monkeypatch.setenv("TFOPT_CACHE", str(tmp_path / "cache"))
    result = tfopt.optimize(model, STEPS[:1], task=task, target=TARGET)
    result.save(tmp_path / "result")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RestoredWarning)
        found = tfopt.reproduce(tmp_path / "result")
    assert found.same, found.message


def test_a_function_is_the_same_in_another_process(tmp_path):
    (tmp_path / "own.py").write_text(
        "import tensorflow as tf\nfrom tensorflow.image import random_flip_left_right as flip\n"
        "RATES = [0.1]\ndef half(x): return x / 2\n"
        "def changed(x): return tf.map_fn(lambda y: flip(half(y)) * RATES[0], x)\n"
        "from tfopt.fingerprints import fingerprint\nprint(fingerprint(changed))"
    )
    runs = [subprocess.run([sys.executable, tmp_path / "own.py"], stdout=-1) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout != b""


def test_what_cannot_be_read_is_told_and_made_again(model, task, tmp_path):
    steps = [tfopt.MagnitudePruning(sparsity=0.5, epochs=0.1)]
    made = [tfopt.optimize(model, steps, task=task, target=TARGET, cache=tmp_path)]
    (place,) = tmp_path.iterdir()
    (place / "step.json").write_text("{")
    with pytest.warns(CorruptCacheWarning, match="made again and written anew"):
        made.append(tfopt.optimize(model, steps, task=task, target=TARGET, cache=tmp_path))
    assert made[0].tflite == made[1].tflite


def test_functions_that_captured_other_values_are_others():
    def capturing(a, b):
        return lambda x: (x, a, b)

    assert fingerprint(capturing(None, 3)) != fingerprint(capturing(3, None))
    assert fingerprint(capturing(None, 3)) == fingerprint(capturing(None, 3))
