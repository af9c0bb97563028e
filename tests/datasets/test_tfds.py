"""A tiny set is prepared as TFDS prepares any other, without a network."""

import numpy as np
import pytest

from tfopt.data import DatasetSplit
from tfopt.datasets import ImageFormat, features, loaded, tfds
from tfopt.errors import DataError
from tfopt.task import Task

tensorflow_datasets = pytest.importorskip("tensorflow_datasets")

SETTINGS = {
    "train": "train",
    "validation": None,
    "test": None,
    "seed": 0,
    "download": False,
}
PLAIN = ImageFormat(None, "uint8")


class TinyImages(tensorflow_datasets.core.GeneratorBasedBuilder):
    """Grey images whose pixels tell their number."""

    VERSION = tensorflow_datasets.core.Version("1.2.0")
    SPLITS = ("train", "test")

    def _info(self):
        kinds = tensorflow_datasets.features
        return tensorflow_datasets.core.DatasetInfo(
            builder=self,
            features=kinds.FeaturesDict(
                {"image": kinds.Image(shape=(4, 5, 1)), "label": kinds.ClassLabel(names=["a", "b"])}
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.SPLITS}

    def _generate_examples(self, split):
        for number in range(40 if split == "train" else 10):
            image = np.full((4, 5, 1), number, np.uint8)
            yield number, {"image": image, "label": number % 2}


class TinyTrainOnly(TinyImages):
    """A set without a test split, as many of TFDS are."""

    SPLITS = ("train",)


class TinyWithValidation(TinyImages):
    """A set with all three splits."""

    SPLITS = ("train", "validation", "test")


class TinySizes(TinyImages):
    """Images of differing sizes."""

    def _info(self):
        kinds = tensorflow_datasets.features
        return tensorflow_datasets.core.DatasetInfo(
            builder=self,
            features=kinds.FeaturesDict(
                {
                    "image": kinds.Image(shape=(None, None, 3)),
                    "label": kinds.ClassLabel(num_classes=2),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _generate_examples(self, split):
        for number in range(20):
            image = np.full((4 + number, 5, 3), number, np.uint8)
            yield number, {"image": image, "label": number % 2}


class TinyText(TinyImages):
    """A set of texts."""

    def _info(self):
        kinds = tensorflow_datasets.features
        return tensorflow_datasets.core.DatasetInfo(
            builder=self,
            features=kinds.FeaturesDict(
                {"text": kinds.Text(), "label": kinds.ClassLabel(num_classes=2)}
            ),
            supervised_keys=("text", "label"),
        )

    def _generate_examples(self, split):
        yield 0, {"text": "hello", "label": 0}


class TinyUnlabelled(TinyImages):
    """A test split whose labels are hidden, as competitions do."""

    def _generate_examples(self, split):
        for number in range(20):
            label = -1 if split == "test" else number % 2
            yield number, {"image": np.full((4, 5, 1), number, np.uint8), "label": label}


class TinyGroups(TinyImages):
    """Images by pen and by writer."""

    SPLITS = ("train",)

    def _info(self):
        kinds = tensorflow_datasets.features
        return tensorflow_datasets.core.DatasetInfo(
            builder=self,
            features=kinds.FeaturesDict(
                {
                    "image": kinds.Image(shape=(4, 5, 1)),
                    "label": kinds.ClassLabel(names=["a", "b"]),
                    "pen": kinds.ClassLabel(names=["ball", "fountain", "felt"]),
                    "writer": kinds.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _generate_examples(self, split):
        for number, sample in super()._generate_examples("train"):
            yield number, sample | {"pen": number % 3, "writer": f"writer {number}"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfds")
    for kind in (
        TinyImages,
        TinyTrainOnly,
        TinyWithValidation,
        TinySizes,
        TinyText,
        TinyUnlabelled,
        TinyGroups,
    ):
        kind(data_dir=directory).download_and_prepare()
    return directory


def load(name, data_dir, image_format=PLAIN, **changes):
    return tfds(name, image_format, data_dir=data_dir, **SETTINGS | changes)


def numbers(split):
    return sorted(split.x[:, 0, 0, 0].tolist())


def test_a_tenth_of_train_becomes_validation(data_dir):
    found, name = load("tiny_images", data_dir)
    assert name == "tiny_images:1.2.0"
    assert found.class_names == ("a", "b")
    assert (found.train.size, found.validation.size, found.test.size) == (36, 4, 10)
    assert sorted(numbers(found.train) + numbers(found.validation)) == list(range(40))
    assert found.train.x.shape[1:] == (4, 5, 1) and found.train.x.dtype == np.uint8
    assert (found.train.x[:, 0, 0, 0] % 2 == found.train.y).all()
    assert numbers(load("tiny_images:1.2.0", data_dir)[0].validation) == numbers(found.validation)
    assert numbers(load("tiny_images", data_dir, seed=1)[0].validation) != numbers(found.validation)


def test_a_set_of_train_only_is_divided_in_three(data_dir):
    found, _ = load("tiny_train_only", data_dir)
    assert (found.train.size, found.validation.size, found.test.size) == (32, 4, 4)


def test_a_sets_own_validation_split_is_taken(data_dir):
    found, _ = load("tiny_with_validation", data_dir)
    assert (found.train.size, found.validation.size, found.test.size) == (40, 10, 10)


def test_splits_can_be_named(data_dir):
    found, _ = load(
        "tiny_images", data_dir, train="train[:50%]", validation="train[50%:]", test="test[:3]"
    )
    assert (found.train.size, found.validation.size, found.test.size) == (20, 20, 3)
    with pytest.raises(DataError, match=r"the split 'tests' of tiny_images/1\.2\.0; .*train, test"):
        load("tiny_images", data_dir, test="tests")


def test_pixels_are_scaled(data_dir):
    held = load("tiny_images", data_dir, ImageFormat(None, "float32"))[0]
    assert held.train.x.dtype == np.float32
    np.testing.assert_allclose(held.train.x.max(), 39 / 255, rtol=0.1)


def test_large_sets_are_streamed(data_dir, monkeypatch):
    held = load("tiny_with_validation", data_dir, ImageFormat(None, "float32"))[0]
    monkeypatch.setattr(loaded, "_MEMORY_LIMIT", 10)
    streamed = load("tiny_with_validation", data_dir, ImageFormat(None, "float32"))[0]
    assert isinstance(streamed.train, DatasetSplit)
    assert streamed.train.fingerprint() == held.train.fingerprint()
    carved = load("tiny_train_only", data_dir)[0]
    assert (carved.train.size, carved.validation.size, carved.test.size) == (32, 4, 4)
    pixels = [
        x[0, 0, 0] for split in (carved.train, carved.validation, carved.test)
        for x in split.first()[0]
    ]  # fmt: skip
    assert sorted(pixels) == list(range(40))


def test_images_of_differing_sizes_are_resized(data_dir):
    with pytest.raises(DataError, match=r"of shape \(None, None, 3\); .*image_size=\(height, widt"):
        load("tiny_sizes", data_dir)
    found, _ = load("tiny_sizes", data_dir, ImageFormat((6, 7), "uint8"))
    assert found.train.x.shape[1:] == (6, 7, 3)
    assert (found.train.x == found.train.x[:, :1, :1, :1]).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny_text", r"supervised keys .*text \(Text\).*expected .* an image and its class"),
        ("tiny_unlabelled", r"labels from -1 to -1 in the test split; .*hidden: name another one"),
        ("mnitz", r"the data set 'mnitz' \(.*not found.*such as .*mnist"),
        ("tiny_images:9.9.9", r"tiny_images:9\.9\.9.*correct the name or the version"),
        ("kmnist", r"'kmnist', which is not prepared in .*pass its directory as data_dir"),
    ],
)
def test_what_cannot_be_loaded_is_explained(data_dir, name, message):
    with pytest.raises(DataError, match=message):
        load(name, data_dir)


def test_without_a_network_it_fails_at_once(data_dir, monkeypatch):
    def no_network(*_):
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(DataError, match="no network to download it; expected a prepared set or a"):
        load("kmnist", data_dir, download=True)


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    def fail(self, *_, **__):
        raise ConnectionError("HTTPConnectionPool:\n max retries exceeded")

    monkeypatch.setattr(TinyImages, "download_and_prepare", fail)
    message = r"failed to download or prepare \(ConnectionError: HTTPConnectionPool: max retries"
    with pytest.raises(DataError, match=message):
        load("tiny_images", tmp_path, download=True)


def test_a_class_that_is_not_known_is_no_other_class():
    names = features._names(
        np.array([1, -1, 0]), tensorflow_datasets.features.ClassLabel(names=["a", "b"])
    )
    assert names.tolist() == ["b", "unknown", "a"]


@pytest.mark.parametrize("limit", [2**31, 100])
def test_features_are_groups_of_the_samples_they_belong_to(data_dir, monkeypatch, limit):
    monkeypatch.setattr(loaded, "_MEMORY_LIMIT", limit)  # held in memory, or streamed
    found, _ = load("tiny_groups", data_dir, groups=("pen", "writer"))
    assert list(found.groups) == ["pen", "writer"]
    for name, split in (("train", found.train), ("validation", found.validation)):
        pixels = np.concatenate([x for x, _ in split.batches(8)])[:, 0, 0, 0]
        assert found.groups["writer"][name].tolist() == [f"writer {pixel}" for pixel in pixels]
        pens = np.array(["ball", "fountain", "felt"])[pixels % 3]
        assert found.groups["pen"][name].tolist() == pens.tolist()


def test_a_task_names_features_as_groups_and_finds_them_again(data_dir):
    task = Task.from_tfds("tiny_groups", data_dir=data_dir, groups="pen")
    assert list(task.groups) == ["pen"] and len(task.groups["pen"]["test"]) == task.test.size
    again = Task.from_source(task.source, data_dir=data_dir)
    assert again.groups["pen"]["test"].tolist() == task.groups["pen"]["test"].tolist()


@pytest.mark.parametrize("name", ["pens", "image"])
def test_what_is_no_group_is_refused(data_dir, name):
    with pytest.raises(DataError, match=r"the feature .* of tiny_groups.*label, pen, writer"):
        load("tiny_groups", data_dir, groups=(name,))
