import pytest

from tfopt.errors import SettingError
from tfopt.keras_gate import tf_keras
from tfopt.task import Task
from tfopt.task.losses import NAMES


def test_the_names_are_those_of_tf_keras():
    public = {name for name in dir(tf_keras.losses) if not name.startswith("_")}
    apart = {"Loss", "Reduction", "deserialize", "get", "serialize"}
    assert public - apart <= NAMES
    for name in NAMES:
        assert callable(tf_keras.losses.get(name)), name


@pytest.mark.parametrize("several", [lambda name: name, lambda name: [name], lambda n: {"a": n}])
def test_an_unknown_name_gets_the_nearest(several):
    expected = (
        "loss='sparse_crossentropy'; expected 'sparse_categorical_crossentropy' is nearest; .*mse"
    )
    with pytest.raises(SettingError, match=expected):
        Task.digits(loss=several("sparse_crossentropy"))


def test_a_registered_loss_is_known():
    with tf_keras.utils.custom_object_scope({"mine": lambda y, p: p}):
        assert Task.digits(loss="mine").loss == "mine"
    with pytest.raises(SettingError, match="loss='mine'"):
        Task.digits(loss="mine")
