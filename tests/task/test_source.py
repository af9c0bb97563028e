import pytest

from tfopt.errors import DataError
from tfopt.keras_gate import tf_keras
from tfopt.task import Task
from tfopt.task.source import describe, parse

LOGITS = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_a_loss_of_keras_survives_json():
    source = Task.digits(loss=LOGITS).source
    assert source["loss"]["class_name"] == "SparseCategoricalCrossentropy"
    again = Task.from_source(source)
    assert again.loss.get_config()["from_logits"]
    assert again.source == source


def test_what_is_no_json_gives_no_source():
    assert Task.digits(loss=lambda y, p: p).source is None
    assert Task.digits(metric=lambda y, p: 1.0).source is None
    several = {"a": LOGITS, "b": "mse"}
    record = describe({"kind": "digits"}, loss=several, metric="mae", batch_size=1, seed=0)
    assert parse(record)[1]["loss"]["a"].get_config()["from_logits"]


def test_a_keras_3_loss_becomes_its_twin():
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=3)
    task = Task.digits(loss=[loss, "mse"])
    assert isinstance(task.loss[0], tf_keras.losses.SparseCategoricalCrossentropy)
    settings = task.loss[0].get_config()
    assert settings["from_logits"] and settings["ignore_class"] == 3
    assert task.loss[1] == "mse"
    with pytest.raises(DataError, match=r"the loss 'CTC'; expected a loss of tf_keras\.losses"):
        Task.digits(loss=keras.losses.CTC())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kind": "digit"}, r"of kind 'digit'; expected 'digits' is nearest"),
        ({}, "of kind None; expected one of digits, image_folder, tfds"),
        ({"kind": "digits", "sed": 1}, r"the key 'sed' in .*'digits'; expected 'seed' is nearest"),
        ({"kind": "digits", "loss": {"class_name": "Foo"}}, "the loss .*Foo"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused(source, message):
    with pytest.raises(DataError, match=message):
        Task.from_source(source)
