import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.training import pipeline
from tfopt.training.pipeline import batches, in_memory

LOSS = "sparse_categorical_crossentropy"


def streamed(dataset, batch_size=4):
    some = dataset.take(3)
    return tfopt.Task.from_dataset(dataset, some, loss=LOSS, batch_size=batch_size, batched=False)


def pairs(count):
    numbers = np.arange(count, dtype=np.float32)
    return tf.data.Dataset.from_tensor_slices((numbers[:, None], numbers.astype(np.int64)))


def labels(dataset, count):
    return np.concatenate([y.numpy() for _, y in dataset.take(count)])


def test_a_stream_that_fits_is_decoded_once():
    decoded = tf.Variable(0)

    def decode(x, y):
        decoded.assign_add(1)
        return x, y

    task = streamed(pairs(10).map(decode))
    batches(task)
    before = decoded.numpy()
    first, again = (labels(batches(task), 6) for _ in range(2))
    assert decoded.numpy() == before
    np.testing.assert_array_equal(first, again)
    assert sorted(first[:10]) == sorted(first[10:20]) == list(range(10))
    assert in_memory(task.train) is in_memory(task.train)


@pytest.mark.filterwarnings("ignore:the training dataset gives other samples")
@pytest.mark.parametrize("seed", [None, 0])  # a global seed makes iterators begin alike
def test_a_stream_that_changes_or_is_too_large_stays_a_stream(monkeypatch, seed):
    tf.random.set_seed(seed)
    noisy = pairs(10).map(lambda x, y: (x + tf.random.uniform([1]), y))
    task = tfopt.Task.from_dataset(noisy, pairs(3), loss=LOSS, batch_size=4, batched=False)
    assert in_memory(task.train) is task.train
    assert sorted(labels(batches(task), 3)) == list(range(10))
    monkeypatch.setattr(pipeline, "MOST_BYTES", 119)
    large = streamed(pairs(10))
    assert in_memory(large.train) is large.train


def test_replicas_share_full_batches_only():
    task = streamed(pairs(10))
    assert [len(y) for _, y in batches(task).take(6)] == [4, 4, 2, 4, 4, 2]
    shared = [y.numpy() for _, y in batches(task, shared=True).take(5)]
    assert {len(y) for y in shared} == {4}
    assert sorted(np.concatenate(shared)) == sorted([*range(10)] * 2)
