import numpy as np
import pytest

from tfopt.data import ArraySplit, DataWarning
from tfopt.datasets import stream
from tfopt.errors import DataError

tf = pytest.importorskip("tensorflow")

X = np.arange(40, dtype=np.float32).reshape(10, 4)
Y = np.arange(10)


@pytest.fixture
def pairs():
    return tf.data.Dataset.from_tensor_slices((X, Y))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data,
        lambda data: data.batch(3),
        lambda data: data.batch(5, drop_remainder=True),
        lambda data: data.batch(3).map(lambda x, y: (x, tf.one_hot(y, 10)[:, 0])),
        lambda data: data.filter(lambda x, y: True),
    ],
)
def test_batched_or_not_the_samples_are_the_same(pairs, change):
    batched = None if change(pairs).element_spec[1].shape.rank == 0 else True
    split = stream(change(pairs), name="train", batched=batched)
    assert split.size == 10
    np.testing.assert_array_equal(split.first()[0], X)


def test_batches_are_found_out(pairs):
    assert stream(pairs.batch(3), name="test").fingerprint() == ArraySplit(X, Y).fingerprint()
    one_hot = pairs.map(lambda x, y: (x, tf.one_hot(y, 10)))
    assert stream(one_hot, name="test").first()[1].shape == (10, 10)
    ambiguous = pairs.batch(5, drop_remainder=True)
    with pytest.raises(DataError, match=r"say it: batched=True or batched=False"):
        stream(ambiguous, name="test")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (np.zeros(3), r"ndarray for test; expected a tf\.data\.Dataset"),
        (tf.data.Dataset.range(3), r"elements TensorSpec.*expected pairs"),
        (
            tf.data.Dataset.from_tensor_slices((X, Y, Y)),
            r"expected pairs .*sample weights, ragged and sparse tensors are not taken",
        ),
        (tf.data.Dataset.from_tensor_slices((X, Y)).repeat(), r"without an end; .*remove \.repeat"),
        (tf.data.Dataset.from_tensor_slices((X, Y)).take(0), "a dataset of 0 samples for test"),
        (
            tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(10),
            r"a test dataset that gives other samples at each pass; .*remove \.shuffle\(\)",
        ),
    ],
)
def test_datasets_that_are_no_split_are_refused(dataset, message):
    with pytest.raises(DataError, match=message):
        stream(dataset, name="test")


def test_shuffled_training_data_is_taken_with_a_warning(pairs):
    with pytest.warns(DataWarning, match="will not give the same file again"):
        stream(pairs.shuffle(10), name="train")
