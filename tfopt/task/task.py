"""How a task is made: of arrays, `tf.data`, TFDS or a folder of images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfopt import datasets
from tfopt.data import ArraySplit
from tfopt.datasets import ImageFormat, ImageType, Loaded
from tfopt.errors import DataError
from tfopt.task import overlap
from tfopt.task import source as sources
from tfopt.task.base import CLASS_LOSS, Metric, TaskBase

if TYPE_CHECKING:
    import tensorflow as tf


class Task(TaskBase):
    """The data of a model, its loss and its metric.

    Build one with `from_arrays`, `from_dataset`, `from_tfds`, `from_image_folder` or `digits`. Its
    fields are those of `TaskBase`, all of which can be read: `train`, `validation`, `test`, `loss`,
    `metric`, `class_names`, `batch_size`, `seed`, `representative` and `source`.

    Example:
        >>> task = Task.digits(batch_size=64)
        >>> task.train.size, task.class_names[:3]
        (1079, ('0', '1', '2'))
    """

    @classmethod
    def from_arrays(
        cls,
        train: tuple[Any, Any],
        validation: tuple[Any, Any],
        test: tuple[Any, Any] | None = None,
        *,
        loss: Any,
        metric: Metric = "accuracy",
        class_names: tuple[str, ...] | None = None,
        batch_size: int = 32,
        seed: int = 0,
        representative: Any = None,
    ) -> Task:
        """Makes a task of arrays in memory.

        Args:
            train: A pair (x, y): inputs and labels, the first axis counting samples. Several
                inputs or outputs are a tuple of arrays in the model's order, or a dict by name.
            validation: Likewise.
            test: Likewise.
            loss: A Keras loss name or a tf_keras loss.
            metric: A metric's name, or a function of (labels, outputs), higher is better.
            class_names: The names of the classes, in the order of the labels.
            batch_size: Samples in a training step.
            seed: Seeds everything random.
            representative: Inputs to calibrate with; None samples them from `train`.

        Raises:
            DataError: An array is empty, holds NaN, is no array of numbers, or does not go with
                the others.

        Warns:
            DataWarning: Test samples are among those of train or validation.

        Example:
            >>> import numpy as np
            >>> x, y = np.random.rand(20, 4).astype("float32"), np.arange(20) % 2
            >>> Task.from_arrays((x, y), (x, y), loss="sparse_categorical_crossentropy").seed
            0
        """
        pairs = {"train": train, "validation": validation, "test": test}
        splits = {name: _pair(pair, name) for name, pair in pairs.items() if pair is not None}
        overlap.warn_of_known_samples(splits)
        return cls(
            train=splits["train"],
            validation=splits["validation"],
            test=splits.get("test"),
            loss=loss,
            metric=metric,
            class_names=tuple(class_names) if class_names is not None else None,
            batch_size=batch_size,
            seed=seed,
            representative=representative,
        )

    @classmethod
    def from_dataset(
        cls,
        train: tf.data.Dataset,
        validation: tf.data.Dataset,
        test: tf.data.Dataset | None = None,
        *,
        loss: Any,
        metric: Metric = "accuracy",
        class_names: tuple[str, ...] | None = None,
        batch_size: int = 32,
        seed: int = 0,
        representative: Any = None,
        batched: bool | None = None,
    ) -> Task:
        """Makes a task of `tf.data` datasets of (inputs, labels), streamed as they are needed.

        Args:
            train: Not shuffled and not repeated: training does both.
            validation: In the same order at each pass, so that outputs can be compared.
            test: Likewise.
            loss: As for `Task`, like the settings after it.
            metric: See `Task`.
            class_names: See `Task`.
            batch_size: See `Task`; however the datasets are batched.
            seed: See `Task`.
            representative: See `Task`.
            batched: Whether the datasets' elements are batches; None finds it out.

        Raises:
            DataError: A dataset is empty, endless, shuffled, or not of pairs of dense tensors.

        Warns:
            DataWarning: The training data comes in another order at each pass.

        Example:
            >>> import numpy as np, tensorflow as tf
            >>> pairs = tf.data.Dataset.from_tensor_slices((np.zeros((9, 4)), np.zeros(9)))
            >>> Task.from_dataset(pairs.batch(4), pairs.batch(4), loss="mse").train.size
            9
        """
        return cls(
            train=datasets.stream(train, name="train", batched=batched),
            validation=datasets.stream(validation, name="validation", batched=batched),
            test=None if test is None else datasets.stream(test, name="test", batched=batched),
            loss=loss,
            metric=metric,
            class_names=tuple(class_names) if class_names is not None else None,
            batch_size=batch_size,
            seed=seed,
            representative=representative,
        )

    @classmethod
    def digits(
        cls,
        *,
        loss: Any = CLASS_LOSS,
        metric: Metric = "accuracy",
        batch_size: int = 32,
        seed: int = 0,
    ) -> Task:
        """Loads the embedded 1,797 handwritten digits: (8, 8, 1) float32 in 0..1, ten classes.

        Example:
            >>> Task.digits().test.size
            359

        References:
            E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
            Learning Repository, 1998. CC BY 4.0.
        """
        return cls._of(datasets.digits(), {"kind": "digits"}, loss, metric, batch_size, seed)

    @classmethod
    def from_tfds(
        cls,
        name: str,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        train: str = "train",
        validation: str | None = None,
        test: str | None = None,
        image_size: tuple[int, int] | None = None,
        dtype: ImageType = "float32",
        loss: Any = CLASS_LOSS,
        metric: Metric = "accuracy",
        batch_size: int = 32,
        seed: int = 0,
        download: bool = True,
        groups: str | Sequence[str] = (),
    ) -> Task:
        """Loads an image classification set of TensorFlow Datasets.

        Args:
            name: As in the TFDS catalog, such as `"mnist"` or `"cifar10:3.0.2"`.
            data_dir: Where it is prepared, or will be; None is TFDS' own place.
            train: The split to train on, such as `"train[:10%]"`.
            validation: None takes the set's own, or carves a tenth from `train`, seeded.
            test: None takes the set's own; a set of nothing but `train` gives a tenth.
            image_size: (height, width) to resize to; needed if the images differ in size.
            dtype: `"float32"` for pixels from 0 to 1, `"uint8"` for 0 to 255.
            loss: As for `Task`, like the settings after it.
            metric: See `Task`.
            batch_size: See `Task`.
            seed: See `Task`.
            download: Whether it may be downloaded.
            groups: Features of the set, such as `"sex"`, whose samples are measured apart; see
                `grouped` for any other groups.

        Raises:
            DataError: There is no such set or split, it is not of images with classes, or it is
                not on disk and cannot be downloaded.
        """
        features = (groups,) if isinstance(groups, str) else tuple(groups)
        loaded, full_name = datasets.tfds(
            name,
            ImageFormat(image_size, dtype),
            data_dir=data_dir,
            train=train,
            validation=validation,
            test=test,
            seed=seed,
            download=download,
            groups=features,
        )
        place: dict[str, Any] = {"kind": "tfds", "name": full_name, "train": train}
        place |= {"validation": validation, "test": test, "image_size": image_size, "dtype": dtype}
        if features:
            place["groups"] = features
        return cls._of(loaded, place, loss, metric, batch_size, seed)

    @classmethod
    def from_image_folder(
        cls,
        directory: str | os.PathLike[str],
        *,
        image_size: tuple[int, int],
        channels: int = 3,
        dtype: ImageType = "float32",
        loss: Any = CLASS_LOSS,
        metric: Metric = "accuracy",
        batch_size: int = 32,
        seed: int = 0,
    ) -> Task:
        """Loads PNG and JPEG files, one sub-folder for each class.

        Args:
            directory: Holds the classes' folders, or `train`, `validation` and `test`, which hold
                them. Without `validation` (or `val`), a tenth of train is carved for it, and
                without `test` as well, another tenth for that, both seeded.
            image_size: (height, width) to resize to.
            channels: 3 for RGB, 1 for grey.
            dtype: `"float32"` for pixels from 0 to 1, `"uint8"` for 0 to 255.
            loss: As for `Task`, like the settings after it.
            metric: See `Task`.
            batch_size: See `Task`.
            seed: See `Task`.

        Raises:
            DataError: There are no images or no classes, or a file cannot be read.

        Warns:
            DataWarning: There are files that are no images.
        """
        loaded = datasets.image_folder(
            directory, ImageFormat(image_size, dtype), channels=channels, seed=seed
        )
        place: dict[str, Any] = {"kind": "image_folder", "directory": os.fspath(directory)}
        place |= {"image_size": image_size, "channels": channels, "dtype": dtype}
        return cls._of(loaded, place, loss, metric, batch_size, seed)

    @classmethod
    def from_source(
        cls, source: Mapping[str, Any], *, data_dir: str | os.PathLike[str] | None = None
    ) -> Task:
        """Loads the data that a task's `source` names.

        Args:
            source: As in `Task.source`.
            data_dir: Where a TFDS set is prepared, or an image folder lies, on this machine.

        Raises:
            DataError: The source cannot be read, or its data is not there.

        Example:
            >>> Task.from_source(Task.digits(seed=3).source).seed
            3
        """
        kind, settings = sources.parse(source)
        strategy = settings.pop("strategy", None)
        task = cls._from_place(kind, settings, data_dir)
        return task if strategy is None else task.distributed(strategy)

    @classmethod
    def _from_place(
        cls, kind: str, settings: dict[str, Any], data_dir: str | os.PathLike[str] | None
    ) -> Task:
        """A task of the data of a place."""
        if kind == "digits":
            return cls.digits(**settings)
        if kind == "tfds":
            return cls.from_tfds(**settings, data_dir=data_dir)
        return cls.from_image_folder(**settings | ({"directory": data_dir} if data_dir else {}))

    @classmethod
    def _of(
        cls,
        loaded: Loaded,
        place: dict[str, Any],
        loss: Any,
        metric: Metric,
        batch_size: int,
        seed: int,
    ) -> Task:
        """A task of loaded data, which `place` finds again."""
        return cls(
            train=loaded.train,
            validation=loaded.validation,
            test=loaded.test,
            class_names=loaded.class_names,
            loss=loss,
            metric=metric,
            batch_size=batch_size,
            seed=seed,
            groups=loaded.groups,
            source=sources.describe(
                place, loss=loss, metric=metric, batch_size=batch_size, seed=seed
            ),
        )


def _pair(pair: Any, name: str) -> ArraySplit:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise DataError(
            received=f"{name} as {type(pair).__name__}"
            + (f" of {len(pair)}" if isinstance(pair, (tuple, list)) else ""),
            expected="a pair (x, y) of inputs and labels",
            fix="use Task.from_dataset for tf.data",
        )
    return ArraySplit(*pair, name=name)
