import dataclasses
import json

import numpy as np
import pytest

from tfopt.data import DataWarning
from tfopt.errors import DataError, SettingError
from tfopt.task import Task

LOSS = "sparse_categorical_crossentropy"


def arrays(count=20, seed=0, width=4):
    generator = np.random.default_rng(seed)
    return generator.random((count, width), np.float32), np.arange(count) % 3


def make(**changes):
    settings = {"train": arrays(), "validation": arrays(8, 1), "loss": LOSS}
    return Task.from_arrays(**settings | changes)


def test_a_task_of_arrays_holds_what_it_was_given():
    train, validation, test = arrays(), arrays(8, 1), arrays(9, 2)
    task = Task.from_arrays(
        train, validation, test, loss=LOSS, class_names=["a", "b", "c"], batch_size=5, seed=3
    )
    np.testing.assert_array_equal(task.train.x, train[0])
    assert (task.validation.size, task.test.size) == (8, 9)
    assert task.metric == "accuracy"
    assert task.class_names == ("a", "b", "c")
    assert (task.batch_size, task.seed, task.source) == (5, 3, None)
    assert task.split("validation") is task.validation
    assert make().test is None


def test_a_task_of_datasets_is_the_same_task():
    import tensorflow as tf

    train, validation = arrays(), arrays(8, 1)
    pairs = [tf.data.Dataset.from_tensor_slices(pair) for pair in (train, validation, validation)]
    held = Task.from_arrays(train, validation, loss=LOSS)
    streamed = Task.from_dataset(pairs[0].batch(3), pairs[1], loss=LOSS)
    assert streamed.fingerprint() == held.fingerprint()
    np.testing.assert_array_equal(streamed.representative_inputs(5), held.representative_inputs(5))
    assert Task.from_dataset(*pairs, loss=LOSS, batched=False).test.size == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": np.zeros(3)}, r"train as ndarray; expected a pair \(x, y\)"),
        ({"train": (1, 2, 3)}, r"train as tuple of 3; expected a pair"),
        ({"validation": ([], [])}, r"the inputs of validation of shape \(0,\)"),
        ({"validation": arrays(width=5)}, r"of shape \(5,\), floating.*expected .*of shape \(4,\)"),
        (
            {"validation": (np.zeros((8, 4), np.uint8), np.zeros(8))},
            r"of shape \(4,\), integers; expected .*floating point",
        ),
        ({"validation": (arrays(8)[0], np.zeros((8, 3), int))}, "the labels of validation: one"),
        ({"loss": ""}, "loss=''; expected a Keras loss name"),
        ({"representative": np.zeros((0, 4))}, r"the representative inputs of shape \(0, 4\)"),
        ({"representative": np.full((3, 4), np.nan)}, "NaN or infinity in 3 of 3 samples of the r"),
        ({"representative": np.zeros((3, 5))}, r"the representative inputs: one array of shape"),
    ],
)
def test_data_that_is_no_task_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("batch_size", 0), ("batch_size", "32"), ("batch_size", 2.5), ("seed", -1), ("seed", "a")],
)
def test_settings_that_are_no_counts_are_refused(setting, value):
    with pytest.raises(SettingError, match=f"{setting}={value!r}; expected a whole number, at l"):
        Task.digits(**{setting: value})


def test_representative_inputs_are_sampled_from_train_or_given():
    task = make()
    found = task.representative_inputs(6)
    assert len(found) == 6
    assert {tuple(row) for row in found} <= {tuple(row) for row in task.train.x}
    np.testing.assert_array_equal(found, task.representative_inputs(6))
    other = dataclasses.replace(task, seed=1).representative_inputs(6)
    assert (found != other).any()

    given = arrays(7, 5)[0]
    task = make(representative=given)
    np.testing.assert_array_equal(task.representative_inputs(100), given)
    assert len(task.representative_inputs(2)) == 2


def test_the_fingerprint_is_of_every_split():
    whole = make()
    assert whole.fingerprint() == make(seed=4, metric="mse").fingerprint()
    different = [
        make(train=arrays(seed=7)),
        make(validation=arrays(8, 7)),
        make(test=arrays(9, 7)),
        make(representative=arrays(3)[0]),
    ]
    assert len({task.fingerprint() for task in [whole, *different]}) == 5


def test_an_unknown_split_is_named():
    with pytest.raises(SettingError, match=r"split='valid'; expected 'validation' is nearest"):
        make().split("valid")
    with pytest.raises(SettingError, match=r"split='test'; expected .*train, validation"):
        make().split("test")


def test_known_test_samples_are_told():
    x, _ = arrays(20)
    with pytest.warns(DataWarning, match=r"3 of 9 test samples are in train too .*sample 0"):
        make(test=(np.concatenate([x[:3], arrays(6, 9)[0]]), np.zeros(9, int)))
    with pytest.warns(DataWarning, match=r"8 of 8 test samples are in validation too"):
        make(test=arrays(8, 1))


@pytest.mark.parametrize(
    "task",
    [
        lambda folder: Task.digits(batch_size=8, seed=2, metric="top_5_accuracy"),
        lambda folder: Task.from_image_folder(folder, image_size=(4, 5), channels=1, seed=2),
    ],
)
def test_named_data_is_loaded_again(task, tmp_path):
    import tensorflow as tf

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(10):
            image = tf.io.encode_png(np.full((3, 3, 1), index, np.uint8))
            (tmp_path / name / f"{index}.png").write_bytes(image.numpy())
    first = task(tmp_path)
    again = Task.from_source(json.loads(json.dumps(first.source)))
    assert again.fingerprint() == first.fingerprint()
    assert again.source == first.source
    assert (again.batch_size, again.seed, again.metric) == (
        first.batch_size, first.seed, first.metric,
    )  # fmt: skip


def test_a_moved_folder_is_found_by_data_dir(tmp_path):
    import tensorflow as tf

    for name in ("a", "b"):
        (tmp_path / "old" / name).mkdir(parents=True)
        for index in range(10):
            image = tf.io.encode_png(np.full((3, 3, 1), index, np.uint8))
            (tmp_path / "old" / name / f"{index}.png").write_bytes(image.numpy())
    source = Task.from_image_folder(tmp_path / "old", image_size=(3, 3)).source
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(DataError, match=r"old', which is no directory"):
        Task.from_source(source)
    assert Task.from_source(source, data_dir=tmp_path / "new").train.size == 16
