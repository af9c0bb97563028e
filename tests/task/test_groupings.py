import numpy as np
import pytest

import tfopt
from tfopt.errors import DataError, SettingError
from tfopt.task.groups import checked, names_of


def test_groups_are_a_function_of_a_batch_or_names(digits):
    task = digits.grouped({"odd": lambda x, y: y % 2})
    assert task.source is None and digits.groups == {}
    names = names_of(task.groups, task.test, "test")["odd"]
    assert names.tolist() == (task.test.y % 2).astype(str).tolist()
    more = task.grouped({"pen": {"test": ["a"] * 359}})
    assert list(more.groups) == ["odd", "pen"]
    assert list(names_of(more.groups, more.validation, "validation")) == ["odd"]


def test_one_without_a_name_is_called_group(digits):
    names = {"test": ["a"] * 359}
    assert list(checked(names, {"test": digits.test})) == ["group"]
    assert list(checked(lambda x, y: y, {})) == ["group"]


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (3, SettingError, "groups of type int"),
        ({"pen": {"test": ["a"]}}, DataError, r"groups\['pen'\] of 1 names for the split 'test'"),
        ({"pen": {"tests": ["a"]}}, DataError, "for the split 'tests'"),
        ({"pen": ["a"]}, DataError, r"give them by split"),
    ],
)
def test_what_are_no_groups_is_refused(digits, groups, error, message):
    with pytest.raises(error, match=message):
        checked(groups, {"test": digits.test, "validation": digits.validation})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, y: y[:3], "names of shape"),
        (lambda x, y: x["age"], r"groups\['pen'\], which raised IndexError"),
    ],
)
def test_a_function_that_fails_is_named(digits, function, message):
    task = digits.grouped({"pen": function})
    with pytest.raises(DataError, match=message):
        names_of(task.groups, task.test, "test")


def test_inputs_of_several_arrays_are_counted():
    x = (np.zeros((5, 2)), np.ones((5, 3)))
    task = tfopt.Task.from_arrays((x, np.arange(5)), (x, np.arange(5)), loss="mse", metric="mae")
    task = task.grouped({"first": lambda x, y: x[0][:, 0]})
    assert names_of(task.groups, task.validation, "validation")["first"].tolist() == ["0.0"] * 5
