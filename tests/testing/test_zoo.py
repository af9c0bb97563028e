import importlib
import subprocess
import sys

import numpy as np
import pytest

import tfopt
from tfopt.data import columns
from tfopt.errors import ModelError
from tfopt.testing import random_task
from tfopt.testing.zoo import MODELS

# Quick ones of every structure: one or several inputs and outputs, integers, a dict, nested.
SOME = ["lenet", "embedding_pooling", "ssd", "named_inputs", "siamese", "landmarks_and_class"]


def entry_named(name):
    return next(entry for entry in MODELS if entry.name == name)


def test_there_are_many_models_of_different_names():
    names = [entry.name for entry in MODELS]
    assert len(set(names)) == len(names) >= 60
    assert len({entry.family for entry in MODELS}) >= 12


def test_every_model_says_what_it_is():
    for entry in MODELS:
        assert entry.function.__doc__.endswith("."), entry.name


@pytest.mark.parametrize("keras", ["tf_keras", "keras"])
@pytest.mark.parametrize("name", SOME)
def test_data_fits_the_model_and_what_tfopt_makes_of_it(name, keras):
    entry = entry_named(name)
    model = entry.build(importlib.import_module(keras))
    loaded = tfopt.load_model(model)
    task = entry.task(loaded, samples=16)
    task.check(loaded)
    entry.task(model, samples=16).check(model)
    loaded.compile("sgd", task.loss)
    y = list(task.train.y) if isinstance(task.train.y, tuple) else task.train.y
    x = list(task.train.x) if isinstance(task.train.x, tuple) else task.train.x
    assert np.isfinite(loaded.train_on_batch(x, y)).all()


@pytest.mark.parametrize("number", range(len(MODELS)), ids=[entry.name for entry in MODELS])
def test_every_model_builds_and_its_outputs_differ_by_sample(number):
    """In one Keras or the other, by turns: the coverage table builds all in both."""
    entry = MODELS[number]
    if "subclassed" in entry.name:
        pytest.skip("has no inputs to be read")
    model = entry.build(importlib.import_module(entry.only or ("tf_keras", "keras")[number % 2]))
    task = entry.task(model, samples=8)
    x = list(task.train.x) if isinstance(task.train.x, tuple) else task.train.x
    found = model(x, training=False)
    found = list(found.values()) if isinstance(found, dict) else found
    for output in found if isinstance(found, list) else [found]:
        output = np.asarray(output, np.float32)
        assert np.isfinite(output).all()
        assert output.std(axis=0).max() > 1e-4


def test_the_same_seed_gives_the_same_model_and_data():
    import tf_keras

    entry = entry_named("resnet")
    one, same, other = (entry.build(tf_keras, seed=seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, one.get_weights(), same.get_weights()))
    assert not all(map(np.array_equal, one.get_weights(), other.get_weights()))
    assert entry.task(one).fingerprint() == entry.task(same).fingerprint()
    assert entry.task(one).fingerprint() != entry.task(one, seed=1).fingerprint()


def test_batch_norm_holds_the_statistics_of_data():
    import tf_keras

    model = entry_named("norm_first").build(tf_keras)
    norm = next(layer for layer in model.layers if "BatchNorm" in type(layer).__name__)
    np.testing.assert_allclose(norm.moving_mean, 0.5, atol=0.05)
    np.testing.assert_allclose(norm.moving_variance, 1 / 12, atol=0.02)
    assert norm.momentum == 0.99


def test_a_model_without_inputs_is_refused():
    import tf_keras

    with pytest.raises(ModelError, match=r"of class Net, without inputs; expected a functional"):
        random_task(entry_named("subclassed").build(tf_keras))


READING = """
import sys, pathlib
import numpy as np
import tfopt

for arrays in sorted(pathlib.Path(sys.argv[1]).glob("*.npz")):
    stored = np.load(arrays)
    inputs = [stored[key] for key in sorted(stored) if key.startswith("in")]
    for path in sorted(arrays.parent.glob(f"{arrays.stem}-*")):
        try:
            found = tfopt.load_model(path)(inputs if len(inputs) > 1 else inputs[0])
            for index, output in enumerate(found if isinstance(found, list) else [found]):
                np.testing.assert_allclose(output, stored[f"out{index:02d}"], rtol=0, atol=1e-4)
            print("read", path.name)
        except Exception as error:
            print(path.name, str(error)[:300])
"""


def read_in_a_new_process(names, keras, folder):
    """Saves models, and lets another process read them: lines of what it could not."""
    count = 0
    for name in names:
        entry = entry_named(name)
        model = tfopt.load_model(entry.build(importlib.import_module(keras)))
        x = entry.task(model, samples=16).validation.x
        inputs = columns(x, model.input_names)
        found = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        outputs = found if isinstance(found, list) else [found]
        arrays = {f"in{index:02d}": array for index, array in enumerate(inputs)}
        arrays |= {f"out{index:02d}": output.numpy() for index, output in enumerate(outputs)}
        np.savez(folder / f"{name}.npz", **arrays)
        for kind, suffix in (("zip", ".keras"), ("h5", ".h5"), ("saved", "")):
            tfopt.save_model(model, folder / f"{name}-{kind}{suffix}")
            count += 1
    command = [sys.executable, "-c", READING, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == count
    return [line for line in lines if not line.startswith("read ")]


OWN_CODE = ("custom_layer", "custom_block")  # unknown to a process that does not define it
OWN_PARTS = ["hard_silu", "squeeze_and_excite", "keras_operations"]  # what tf_keras lacks


def test_what_a_keras_3_model_became_is_read_in_a_new_process(tmp_path):
    assert read_in_a_new_process(OWN_PARTS, "keras", tmp_path) == []


def test_a_layer_that_a_new_process_does_not_know_is_told_as_that(tmp_path):
    zipped, h5, saved = read_in_a_new_process(["custom_layer"], "tf_keras", tmp_path)
    for line in (zipped, h5, saved):
        assert "cannot read" in line and "damaged" not in line, line


@pytest.mark.slow
@pytest.mark.parametrize("keras", ["tf_keras", "keras"])
def test_every_saved_model_is_read_in_a_new_process(keras, tmp_path):
    left = ("subclassed_untraceable", "lambdas", *OWN_CODE)
    names = [e.name for e in MODELS if e.only in (None, keras) and e.name not in left]
    assert read_in_a_new_process(names, keras, tmp_path) == []
