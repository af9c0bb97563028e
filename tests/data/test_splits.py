import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.data import ArraySplit, DatasetSplit, concatenate, sample_positions, splits
from tfopt.errors import DataError

X = np.arange(35, dtype=np.float32).reshape(7, 5)
Y = np.arange(7)


@pytest.fixture(scope="module")
def streamed():
    import tensorflow as tf

    return DatasetSplit(tf.data.Dataset.from_tensor_slices((X, Y)), size=7)


@pytest.fixture(params=["memory", "stream"])
def split(request, streamed):
    return ArraySplit(X, Y) if request.param == "memory" else streamed


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_batches_hold_every_sample_in_order(split, batch_size):
    batches = list(split.batches(batch_size))
    assert all(len(y) == batch_size for _, y in batches[:-1])
    np.testing.assert_array_equal(concatenate([x for x, _ in batches]), X)
    np.testing.assert_array_equal(concatenate([y for _, y in batches]), Y)
    assert split.size == 7


@pytest.mark.parametrize("positions", [[0], [6], [1, 2, 5], list(range(7))])
def test_samples_are_found_by_their_positions(monkeypatch, split, positions):
    monkeypatch.setattr(splits, "_READ", 3)
    wanted = np.array(positions)
    np.testing.assert_array_equal(split.take(wanted), X[wanted])
    sides = [concatenate(side) for side in zip(*split.at(wanted), strict=True)]
    np.testing.assert_array_equal(sides[0], X[wanted])
    np.testing.assert_array_equal(sides[1], Y[wanted])


@given(size=st.integers(1, 50), count=st.integers(1, 60), seed=st.integers(0, 9))
@settings(max_examples=30)
def test_sampled_positions_are_distinct_and_ascending(size, count, seed):
    positions = sample_positions(size, count, seed)
    assert len(positions) == min(size, count)
    assert (np.diff(positions) > 0).all()
    assert positions[0] >= 0 and positions[-1] < size


def test_the_fingerprint_is_of_the_content(split):
    whole = ArraySplit(X, Y).fingerprint()
    assert split.fingerprint() == whole
    other = X.copy()
    other[6, 4] += 1
    for x, y in ((other, Y), (X, Y[::-1]), (X.astype(np.float64), Y), (X[:6], Y[:6])):
        assert ArraySplit(x, y).fingerprint() != whole
    assert ArraySplit((X, X), Y).fingerprint() != whole
    assert ArraySplit({"a": X}, Y).fingerprint() != ArraySplit({"b": X}, Y).fingerprint()


def test_samples_of_several_inputs(streamed):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(({"a": X, "b": X * 2}, (Y, Y)))
    split = DatasetSplit(dataset, size=7)
    found = split.take(np.array([0, 3, 4]))
    np.testing.assert_array_equal(found["a"] * 2, found["b"])
    assert isinstance(split.first()[1], tuple)
    assert split.fingerprint() == ArraySplit({"a": X, "b": X * 2}, (Y, Y)).fingerprint()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:5], r"7 inputs and 5 labels in test; expected one label for each input"),
        (np.full_like(X, np.nan), Y, "NaN or infinity in 7 of 7 samples of the inputs of test"),
        (X, np.full(7, np.inf), "of the labels of test"),
        (X[:0], Y[:0], r"the inputs of test of shape \(0, 5\)"),
        (X, list("abcdefg"), "the labels of test of dtype <U1"),
    ],
)
def test_arrays_that_are_no_split_are_refused(x, y, message):
    with pytest.raises(DataError, match=message):
        ArraySplit(x, y, name="test")


def test_a_stream_fails_in_words():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((np.full_like(X, np.nan), Y))
    split = DatasetSplit(dataset, size=7, name="validation")
    with pytest.raises(DataError, match="NaN or infinity in 7 of 7 samples of the inputs of val"):
        split.first()
    with pytest.raises(DataError, match="a dataset of 0 samples for train"):
        DatasetSplit(dataset, size=0)

    ragged = tf.data.Dataset.range(1, 4).map(lambda n: (tf.zeros([n]), n))
    with pytest.raises(DataError, match=r"a train dataset that fails \(Cannot .*\); .*one shape"):
        DatasetSplit(ragged, size=3).first()
