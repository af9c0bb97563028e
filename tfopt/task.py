"""What a model is for: its data, loss and metric. Built from arrays, `tf.data`, TFDS or a folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tfopt import datasets
from tfopt.data import Arrays, ArraySplit, Split, as_arrays, check_finite, length, select
from tfopt.errors import DataError, nearest

if TYPE_CHECKING:
    import tensorflow as tf

Metric = str | Callable[[np.ndarray, np.ndarray], float]
SplitName = Literal["train", "validation", "test"]

_CLASSIFICATION = "sparse_categorical_crossentropy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The data of a model and what is asked of it.

    Build one with `from_arrays`, `from_dataset`, `from_tfds`, `from_image_folder` or `digits`.
    `validation` is used for every choice, `test` only for the figures at the end: so keep them
    apart.

    Args:
        train: What fine-tuning learns from, and calibration samples.
        validation: What steps are compared on.
        test: What the final figures are measured on; None measures them on `validation`.
        loss: A Keras loss name or a tf_keras loss.
        metric: A metric's name, or a function of (labels, outputs) to a number, higher is better.
        class_names: The names of the classes, in the order of the labels.
        batch_size: Samples in a training step.
        seed: Seeds shuffling, initial values and sampling.
        representative: Inputs to calibrate with; None samples them from `train`.
        source: How `from_source` loads the same task again, as JSON values; None if it cannot.

    Raises:
        DataError: The splits do not go together, or a setting cannot be.
    """

    train: Split
    validation: Split
    test: Split | None = None
    loss: Any
    metric: Metric = "accuracy"
    class_names: tuple[str, ...] | None = None
    batch_size: int = 32
    seed: int = 0
    representative: Arrays | None = None
    source: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(
                received=f"batch_size={self.batch_size}", expected="at least 1", fix="32 is usual"
            )

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
        """Makes a task of arrays in memory."""
        splits = {
            name: ArraySplit(*pair, name=name)
            for name, pair in (("train", train), ("validation", validation), ("test", test))
            if pair is not None
        }
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
    def digits(cls, *, batch_size: int = 32, seed: int = 0) -> Task:
        loaded = datasets.digits()
        return cls(
            train=loaded.train,
            validation=loaded.validation,
            test=loaded.test,
            class_names=loaded.class_names,
            loss=_CLASSIFICATION,
            batch_size=batch_size,
            seed=seed,
            source={"kind": "digits", "batch_size": batch_size, "seed": seed},
        )

    def split(self, name: SplitName) -> Split:
        """Returns a split by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def representative_inputs(self, count: int) -> Arrays:
        if self.representative is None:
            inputs = self.train.sample(count, self.seed)
        else:
            inputs = as_arrays(self.representative, "the representative inputs")
            inputs = select(inputs, slice(0, count))
        check_finite(inputs, "the representative inputs")
        return inputs

    def fingerprint(self) -> str:
        import hashlib

        whole = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            whole.update((split.fingerprint() if split else "none").encode())
        return whole.hexdigest()

    def check(self, model: Any) -> None:
        pass
