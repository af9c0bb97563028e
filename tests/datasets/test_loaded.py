import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.datasets import ImageFormat, digits
from tfopt.datasets.loaded import carve, read
from tfopt.errors import DataError, SettingError


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    shares=st.sampled_from([(), (0.1,), (0.1, 0.1), (0.2, 0.3)]),
    seed=st.integers(0, 3),
)
@settings(max_examples=40)
def test_carving_loses_no_sample_and_keeps_proportions(counts, shares, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = carve(labels, shares, seed)
    assert len(parts) == len(shares) + 1
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for part, share in zip(parts[1:], shares, strict=True):
        for label, count in enumerate(counts):
            found = (labels[part] == label).sum()
            assert abs(found - share * count) <= 1
    for part, again in zip(parts, carve(labels, shares, seed), strict=True):
        np.testing.assert_array_equal(part, again)


def test_carving_is_seeded():
    labels = np.zeros(100)
    assert (carve(labels, (0.1,), 0)[1] != carve(labels, (0.1,), 1)[1]).any()


@pytest.mark.parametrize("seed", [-1, 0.5, True, "0"])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(SettingError, match=f"Received seed={seed!r}"):
        carve(np.zeros(20), [0.1], seed)


def test_the_digits_are_whole_and_divided():
    loaded = digits()
    splits = (loaded.train, loaded.validation, loaded.test)
    assert [split.size for split in splits] == [1079, 359, 359]
    assert loaded.class_names == tuple("0123456789")
    for split in splits:
        assert split.x.shape[1:] == (8, 8, 1)
        assert split.x.dtype == np.float32
        assert split.x.min() == 0 and split.x.max() == 1
        shares = np.bincount(split.y) / split.size
        assert shares.min() > 0.09 and shares.max() < 0.11
    images = np.concatenate([split.x for split in splits]).reshape(1797, -1)
    assert len(np.unique(images, axis=0)) == 1797


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((None, "float16"), r"dtype='float16'; expected .*float32, uint8"),
        (((0, 5), "uint8"), r"image_size=\(0, 5\); expected \(height, width\)"),
        (((5,), "uint8"), r"image_size=\(5,\)"),
    ],
)
def test_bad_formats_are_refused(settings, message):
    with pytest.raises(DataError, match=message):
        ImageFormat(*settings)


@pytest.mark.parametrize(("size", "message"), [(4, "of more samples"), (6, "of 5 samples")])
def test_a_stream_of_another_length_is_refused(size, message):
    import tensorflow as tf

    images = tf.data.Dataset.from_tensor_slices((np.zeros((5, 2, 2, 1), np.uint8), np.arange(5)))
    assert read(images, 5, "train")[1].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match=f"{message}; expected the {size} it says it has"):
        read(images, size, "train")


def test_an_empty_split_is_refused():
    import tensorflow as tf

    images = tf.data.Dataset.from_tensor_slices((np.zeros((0, 2, 2, 1), np.uint8), np.arange(0)))
    with pytest.raises(DataError, match="a validation split without samples"):
        ImageFormat(None, "uint8").split(images, 0, "validation")


def test_images_are_resized_and_scaled():
    import tensorflow as tf

    pixels = np.full((3, 4, 6, 1), 200, np.uint8)
    labels = np.arange(3)
    for dtype, value in (("uint8", 200), ("float32", np.float32(200 / 255))):
        image_format = ImageFormat((2, 3), dtype)
        images = tf.data.Dataset.from_tensor_slices((pixels, labels)).map(
            lambda image, label, used=image_format: (used.resized(image), label)
        )
        split = image_format.split(images, 3, "train")
        assert split.x.shape == (3, 2, 3, 1)
        assert split.x.dtype == np.dtype(dtype)
        assert (split.x == value).all()
