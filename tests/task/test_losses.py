import pytest

from tfopt.keras_gate import tf_keras
from tfopt.task.losses import NAMES, each, loss_name, of_logits

CROSSENTROPIES = [
    name for name in dir(tf_keras.losses) if name.endswith("Crossentropy") and name[0].isupper()
]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_all_names_of_a_loss_are_one(name):
    assert loss_name(name) == loss_name(tf_keras.losses.get(name))
    assert loss_name(name) in dir(tf_keras.losses)


@pytest.mark.parametrize("name", CROSSENTROPIES)
def test_each_crossentropy_of_keras_says_whether_it_is_of_logits(name):
    kind = getattr(tf_keras.losses, name)
    assert of_logits(kind(from_logits=True)) and not of_logits(kind())
    assert of_logits({"a": "mse", "b": kind(from_logits=True)})
    assert not of_logits(name)


def test_a_loss_of_ones_own_may_say_it_too():
    class Own(tf_keras.losses.Loss):
        from_logits = True

        def call(self, labels, outputs):
            return outputs

    assert of_logits(Own()) and not of_logits(lambda labels, outputs: outputs)


def test_each_output_has_its_loss_by_name_or_by_place():
    assert each({"b": "mae", "a": "mse"}, ["a", "b", "c"]) == ["mse", "mae", None]
    assert each(["mse", "mae"], ["a", "b"]) == ["mse", "mae"]
    assert each("mse", ["a", "b"]) == ["mse", "mse"]
    assert each({"a": "mse"}, ["a file's name of it"]) == ["mse"]
