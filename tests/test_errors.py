import pickle

import pytest

from tfopt import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.TfoptError)
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_errors_say_all_three_things_and_cross_processes(cls):
    error = cls(received="a cat", expected="a dog", fix="adopt a dog.")
    assert str(error) == "Received a cat; expected a dog. Fix: adopt a dog."
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error)


def test_the_nearest_name_comes_first():
    assert errors.nearest("in8", ["int8", "float32"]) == "'int8' is nearest; one of float32, int8"
    assert errors.nearest("zebra", ["int8", "float32"]) == "one of float32, int8"
