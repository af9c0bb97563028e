import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.errors import DataError
from tfopt.tflite.tensor_spec import TensorSpec

INT8 = TensorSpec("image", (None, 2), "int8", scale=0.5, zero_point=3, index=0)
FLOAT = TensorSpec("image", (None, 2), "float32", scale=None, zero_point=None, index=0)
WORDS = TensorSpec("words", (1, None), "int32", scale=None, zero_point=None, index=0)
FLAG = TensorSpec("flag", (None,), "bool", scale=None, zero_point=None, index=0)


@settings(max_examples=50, deadline=None)
@given(
    scale=st.floats(2**-13, 8, width=32),
    zero_point=st.integers(-128, 127),
    values=st.lists(st.floats(-1000, 1000, width=32), min_size=2, max_size=2),
)
def test_decoding_gives_back_what_was_encoded_within_half_a_step(scale, zero_point, values):
    spec = dataclasses.replace(INT8, scale=scale, zero_point=zero_point)
    array = np.array([values], np.float32)
    encoded = spec.encode(array)
    low, high = (spec.decode(np.array([end], np.int8))[0] for end in (-128, 127))
    assert encoded.dtype == np.int8
    assert np.abs(spec.decode(encoded) - np.clip(array, low, high)).max() <= scale * 0.501


def test_encoding_rounds_ties_to_even_and_clips():
    array = np.array([[0.25, 0.75], [1e9, -1e9], [np.inf, -np.inf]])
    assert INT8.encode(array).tolist() == [[3, 5], [127, -128], [127, -128]]


def test_every_type_of_real_number_is_taken():
    for dtype in ("float16", "float32", "float64", "uint8", "int64", "bool"):
        array = np.ones((1, 2), dtype)
        for spec in (INT8, FLOAT):
            spec.check(array)
        assert INT8.encode(array).tolist() == [[5, 5]]
        assert FLOAT.encode(array).dtype == np.float32


def test_its_own_type_goes_through_as_it_is():
    array = np.array([[7, -7]], np.int8)
    INT8.check(array)
    assert INT8.encode(array) is array
    assert FLOAT.decode(array) is array


def test_word_numbers_are_cast_if_they_fit():
    array = np.array([[1, 2, 3]], np.int64)
    WORDS.check(array)
    assert WORDS.encode(array).dtype == np.int32


@pytest.mark.parametrize(
    ("spec", "array", "message"),
    [
        (
            INT8,
            np.zeros((4, 3)),
            "an array of shape (4, 3) for input 'image'; expected shape (samples, 2) with at least",
        ),
        (INT8, np.zeros(2), "an array of shape (2,) for input 'image'"),
        (WORDS, np.zeros((1, 2, 3), int), "expected shape (samples, any)"),
        (INT8, np.zeros((0, 2)), "an array of shape (0, 2)"),
        (
            INT8,
            np.array([["a", "b"]]),
            "values of dtype <U1 for input 'image'; expected int8, or real numbers to be quantized",
        ),
        (
            WORDS,
            np.zeros((1, 2)),
            "values of dtype float64 for input 'words'; expected numbers that int32 can hold. "
            "Fix: pass x.astype('int32') if its values mean the same",
        ),
        (WORDS, np.full((1, 2), 2**40), "values of dtype int64 for input 'words'"),
        (FLAG, np.zeros(3), "values of dtype float64 for input 'flag'"),
        (
            FLOAT,
            np.array([[0, 0], [np.nan, 0], [0, np.nan]]),
            "NaN in 2 of 3 samples for input 'image' (first: sample 1); expected numbers",
        ),
    ],
)
def test_what_does_not_fit_is_refused(spec, array, message):
    with pytest.raises(DataError) as caught:
        spec.check(array)
    assert message in str(caught.value)
