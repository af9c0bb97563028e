import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.data import ArraySplit, DatasetSplit, balanced_positions, spread_positions
from tfopt.errors import DataError


def labelled(labels, width=2):
    return ArraySplit(np.arange(len(labels) * width, dtype=np.float32).reshape(-1, width), labels)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    count=st.integers(1, 70),
    seed=st.integers(0, 5),
)
@settings(max_examples=30, deadline=None)
def test_balanced_takes_the_same_number_of_each_class(labels, count, seed):
    positions = balanced_positions(labelled(labels), count, seed)
    assert len(positions) == min(count, len(labels))
    assert (np.diff(positions) > 0).all()
    labels = np.array(labels)
    taken = np.bincount(labels[positions], minlength=5)
    most = taken.max()
    # a class with fewer than another has given all it has, or all but the last round
    assert (taken >= np.minimum(np.bincount(labels, minlength=5), most - 1)).all()


def test_balanced_is_seeded_and_reads_one_hot_labels():
    labels = np.random.default_rng(0).integers(0, 3, 90)
    plain = balanced_positions(labelled(labels), 30, seed=1)
    np.testing.assert_array_equal(
        balanced_positions(labelled(np.eye(3)[labels]), 30, seed=1), plain
    )
    np.testing.assert_array_equal(balanced_positions(labelled(labels), 30, seed=1), plain)
    assert not np.array_equal(balanced_positions(labelled(labels), 30, seed=2), plain)


@pytest.mark.parametrize(
    "labels", [np.linspace(0, 1, 8), np.ones((8, 3)), (np.zeros(8), np.zeros(8))]
)
def test_labels_that_are_no_classes_cannot_be_balanced(labels):
    with pytest.raises(DataError, match="expected one class for each sample"):
        balanced_positions(labelled_any(labels), 4, seed=0)


def labelled_any(labels):
    return ArraySplit(np.zeros((8, 2)), labels)


@given(seed=st.integers(0, 20), count=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_spread_samples_are_at_least_half_as_far_apart_as_any(seed, count):
    points = np.random.default_rng(seed).normal(size=(40, 3)).astype(np.float32)
    positions = spread_positions(ArraySplit(points, np.zeros(40)), count, seed)
    assert len(np.unique(positions)) == count and (np.diff(positions) > 0).all()
    if count > 1:
        chosen = points[positions]
        other = points[np.random.default_rng(seed).permutation(40)[:count]]
        assert nearest(chosen) >= nearest(other) / 2  # Gonzalez: of any choice at all


def nearest(points):
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return distances[np.triu_indices(len(points), 1)].min()


def test_spread_reads_images_of_any_size_streams_and_several_inputs():
    import tensorflow as tf

    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (300, 13, 20, 3)).astype(np.uint8)
    ages = generator.normal(size=(300, 1))
    held = ArraySplit({"image": images, "age": ages}, np.zeros(300))
    streamed = DatasetSplit(
        tf.data.Dataset.from_tensor_slices(({"image": images, "age": ages}, np.zeros(300))),
        size=300,
    )
    positions = spread_positions(held, 10, seed=0)
    np.testing.assert_array_equal(spread_positions(streamed, 10, seed=0), positions)
    np.testing.assert_array_equal(streamed.take(positions)["age"], ages[positions])


def test_samples_that_are_all_the_same_can_be_spread():
    split = ArraySplit(np.ones((5, 4, 4, 1)), np.zeros(5))
    np.testing.assert_array_equal(spread_positions(split, 9, seed=0), np.arange(5))
