import numpy as np
import pytest

from tfopt.data import DatasetSplit, DataWarning
from tfopt.datasets import ImageFormat, image_folder, loaded
from tfopt.errors import DataError

tf = pytest.importorskip("tensorflow")

FORMAT = ImageFormat((6, 5), "uint8")


def write_images(folder, *, count, value, size=(8, 7), suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    encode = tf.io.encode_png if suffix == ".png" else tf.io.encode_jpeg
    for index in range(count):
        pixels = np.full((*size, 3), value, np.uint8)
        tf.io.write_file(str(folder / f"{index:03}{suffix}"), encode(pixels))


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "cat", count=20, value=50)
    write_images(tmp_path / "dog", count=10, value=200, size=(9, 9), suffix=".JPG")
    return tmp_path


def load(folder, image_format=FORMAT, channels=3):
    return image_folder(folder, image_format, channels=channels, seed=0)


def test_a_folder_for_each_class(folder):
    found = load(folder)
    assert found.class_names == ("cat", "dog")
    assert [split.size for split in (found.train, found.validation, found.test)] == [24, 3, 3]
    for split in (found.train, found.validation, found.test):
        assert split.x.shape[1:] == (6, 5, 3)
        means = split.x.mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means, np.where(split.y == 0, 50, 200), atol=2)
    assert load(folder, channels=1).train.x.shape[1:] == (6, 5, 1)
    scaled = load(folder, ImageFormat((8, 7), "float32")).train.x
    assert scaled.dtype == np.float32 and scaled.max() < 0.8


def test_large_folders_are_streamed(folder, monkeypatch):
    held = load(folder, ImageFormat((8, 7), "float32"))
    monkeypatch.setattr(loaded, "_MEMORY_LIMIT", 10)
    streamed = load(folder, ImageFormat((8, 7), "float32"))
    assert isinstance(streamed.train, DatasetSplit)
    assert streamed.train.fingerprint() == held.train.fingerprint()


def test_folders_for_the_splits_are_kept(tmp_path):
    for split, count in (("train", 12), ("val", 4), ("test", 5)):
        for value, name in enumerate(("a", "b")):
            write_images(tmp_path / split / name, count=count, value=value)
    found = load(tmp_path)
    assert [split.size for split in (found.train, found.validation, found.test)] == [24, 8, 10]
    (tmp_path / "test").rename(tmp_path / ".test")
    assert load(tmp_path).test is None
    (tmp_path / "val").rename(tmp_path / ".val")
    assert load(tmp_path).validation.size == 2


def test_two_folders_for_one_split_are_refused(tmp_path):
    for split in ("train", "val", "validation"):
        for name in ("a", "b"):
            write_images(tmp_path / split / name, count=2, value=1)
    message = r"'val' and 'validation' in .*; expected one folder for each split"
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_damaged_files_are_named(folder):
    (folder / "dog" / "005.JPG").write_bytes(b"not an image")
    (folder / "cat" / "002.png").write_bytes(b"")
    message = r"cannot be read: .*002\.png, .*005\.JPG; expected whole PNG or JPEG files"
    with pytest.raises(DataError, match=message):
        load(folder)


def test_files_that_are_no_images_are_told(folder):
    (folder / "dog" / "notes.txt").write_text("woof")
    (folder / "dog" / ".hidden").write_text("")
    with pytest.warns(DataWarning, match=r"1 file\(s\) are no PNG or JPEG.*notes\.txt"):
        load(folder)


def test_folders_that_hold_no_data_set_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere', which is no directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"with 0 sub-folder\(s\); .*at least two"):
        load(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"no image in .*files ending in \.png, \.jpg"):
        load(tmp_path)
    write_images(tmp_path / "a", count=2, value=1)
    with pytest.raises(DataError, match="too few images to carve a validation split"):
        load(tmp_path)
    with pytest.raises(DataError, match="channels=2; expected 3 for RGB or 1 for grey"):
        load(tmp_path, channels=2)


def test_classes_must_be_those_of_train(tmp_path):
    for name in ("train/a", "train/b", "test/a", "test/c"):
        write_images(tmp_path / name, count=10, value=1)
    with pytest.raises(DataError, match=r"the classes \['c'\] in .*test'; .*of train: a, b"):
        load(tmp_path)
