import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.data import (
    as_arrays,
    check_finite,
    columns,
    concatenate,
    fitted,
    leaves,
    length,
    matched,
    select,
)
from tfopt.errors import DataError

STRUCTURES = {
    "array": np.arange(12.0).reshape(6, 2),
    "tuple": (np.arange(6), np.arange(6.0)),
    "dict": {"a": np.arange(6), "b": np.zeros((6, 3))},
}


@pytest.mark.parametrize("kind", STRUCTURES)
@given(cut=st.integers(0, 6))
@settings(max_examples=10)
def test_parts_make_the_whole_again(kind, cut):
    arrays = STRUCTURES[kind]
    parts = [select(arrays, slice(0, cut)), select(arrays, slice(cut, 6))]
    assert [length(part) for part in parts] == [cut, 6 - cut]
    again = concatenate(parts)
    assert type(again) is type(arrays)
    for (name, ours), (other, theirs) in zip(leaves(again), leaves(arrays), strict=True):
        assert name == other
        np.testing.assert_array_equal(ours, theirs)


def test_columns_are_found_by_name_or_position():
    left, right = np.zeros(2), np.ones(2)
    for given_arrays in ((left, right), {"right": right, "left": left}):
        found = columns(given_arrays, ["left", "right"])
        assert found[0] is left
        assert found[1] is right


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (np.zeros(2), r"1 array\(s\); expected 2, one for each of \['left', 'right'\]"),
        ({"left": np.zeros(2), "rihgt": np.zeros(2)}, r"\['left', 'rihgt'\]; .*'left', 'right'"),
    ],
)
def test_columns_that_do_not_fit_are_named(arrays, message):
    with pytest.raises(DataError, match=message):
        columns(arrays, ["left", "right"])


def test_a_single_array_goes_with_a_single_name():
    labels = np.zeros(2)
    for given_arrays in (labels, (labels,), {"label": labels}):
        assert matched(given_arrays, ["probabilities"])[0] is labels
    with pytest.raises(DataError, match="arrays named"):
        matched({"left": labels, "rihgt": labels}, ["left", "right"])


def test_lists_are_one_array_of_numbers_or_several_inputs():
    assert as_arrays([1, 2, 3], "x").tolist() == [1, 2, 3]
    assert as_arrays([[1, 2], [3, 4]], "x").shape == (2, 2)
    several = as_arrays([np.zeros(3), np.ones(3)], "x")
    assert isinstance(several, tuple)
    assert as_arrays({1: [0.5]}, "x")["1"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["cat", "dog"], r"x of dtype <U3; expected numbers.*turn names into integers"),
        (np.array([1, None]), "x of dtype object"),
        (np.array([1j]), "x of dtype complex128"),
        ([[1], [2, 3]], "of which numpy makes no array|dtype object"),
        (np.zeros((0, 3)), r"x of shape \(0, 3\); expected at least one sample"),
        (5, r"x of shape \(\)"),
        ({}, "x without any array"),
        ((np.zeros(2), np.zeros(3)), r"2 arrays of \[2, 3\] samples; .*np\.stack"),
        ({"a": np.zeros(2), "b": ["n"]}, r"x, 'b' of dtype <U1"),
    ],
)
def test_what_is_no_data_is_refused(value, message):
    with pytest.raises(DataError, match=message):
        as_arrays(value, "x")


def test_nan_is_counted_and_placed():
    x = np.zeros((4, 2, 2), np.float32)
    check_finite(x, "the inputs")
    check_finite(np.arange(3), "the labels")
    x[1, 0, 1], x[3] = np.nan, np.inf
    message = r"in 2 of 4 samples of the inputs, 'image' \(first: sample 1\); expected finite"
    with pytest.raises(DataError, match=message):
        check_finite({"image": x}, "the inputs")


def test_inputs_are_put_in_the_models_order_and_held_against_its_shapes():
    left, right = np.zeros((3, 4)), np.ones((3, 7, 2))
    named, shapes = {"right": right, "left": left}, [(4,), (None, 2)]
    ordered = fitted(named, ["left", "right"], shapes)
    assert ordered[0] is left and ordered[1] is right
    message = r"samples of shape \(7, 2\) for 'right'; expected shape \(None, 2, 1\), where None is"
    with pytest.raises(DataError, match=message):
        fitted(named, ["left", "right"], [(4,), (None, 2, 1)])
    with pytest.raises(DataError, match=r"of shape \(4,\) for 'left'; expected shape \(5,\)"):
        fitted((left,), ["left"], [(5,)])
