"""What a task is: its data, loss and metric, and whether a model goes with them."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tfopt.data import (
    Arrays,
    ArraySplit,
    DataWarning,
    Split,
    as_arrays,
    balanced_positions,
    check_finite,
    sample_positions,
    spread_positions,
)
from tfopt.errors import DataError, SettingError, nearest
from tfopt.settings import check_counts
from tfopt.target import Choice
from tfopt.task import fit
from tfopt.task import groups as groupings
from tfopt.task.source import tf_keras_loss

if TYPE_CHECKING:
    from typing_extensions import Self

# Also a metric object of Keras, and several by the names or in the order of the outputs.
Metric = str | Callable[[np.ndarray, np.ndarray], float] | Mapping[str, Any] | tuple[Any, ...]
SplitName = Literal["train", "validation", "test"]

STRATEGIES = ("mirrored", "multi_worker")
"""Ways to fine-tune on several devices, by name."""

CLASS_LOSS = "sparse_categorical_crossentropy"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TaskBase:
    """The data of a model and what is asked of it: what `tfopt.Task` is, apart from building one.

    `validation` is used for every choice, `test` only for the figures at the end: keep them apart.

    Args:
        train: What fine-tuning learns from, and calibration samples.
        validation: What steps are compared on.
        test: What the final figures are measured on; None measures them on `validation`.
        loss: A Keras loss name or a tf_keras loss.
        metric: A metric's name, a metric object of Keras, or a function of (labels, outputs) to a
            number: higher is better, unless its attribute `higher_is_better` is False. For several
            outputs, each with its own: a dict by their names or a tuple; budgets judge the first.
        class_names: The names of the classes, in the order of the labels.
        batch_size: Samples in a training step.
        seed: Seeds shuffling, initial values and sampling.
        representative: Inputs to calibrate with; None samples them from `train`.
        source: How `from_source` loads the same task again, as JSON values; None if it cannot.
        augment: Changes a batch of inputs at random, with TensorFlow operations, each time
            training reads it; see `augmented`.
        teacher: A tf_keras model whose answers techniques with `teacher="baseline"` imitate;
            `optimize` sets its baseline.
        strategy: How fine-tuning uses several devices; see `distributed`.
        groups: Groups of samples to measure apart, by a name; see `grouped`.

    Raises:
        DataError: The splits do not go together, or there is no loss.
        SettingError: The loss is a name that Keras does not know, or `batch_size` or `seed` is no
            whole number or too small.
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
    augment: Callable[[Any], Any] | None = None
    teacher: Any = None
    strategy: Any = None
    groups: Mapping[str, groupings.Grouping] = dataclasses.field(default_factory=dict)
    _told: set[str] = dataclasses.field(default_factory=set, repr=False)  # copies share it

    def __post_init__(self) -> None:
        check_counts(self, batch_size=1, seed=0)
        if not self.loss:
            raise DataError(
                received=f"loss={self.loss!r}",
                expected="a Keras loss name or a tf_keras loss",
                fix=f'for classes by number use loss="{CLASS_LOSS}"',
            )
        self._check_strategy()
        if self.representative is not None:
            inputs = as_arrays(self.representative, "the representative inputs")
            check_finite(inputs, "the representative inputs")
            object.__setattr__(self, "representative", inputs)
        object.__setattr__(self, "loss", tf_keras_loss(self.loss))
        object.__setattr__(self, "groups", groupings.checked(self.groups, self._splits()))
        fit.check_alike(self.train, self.validation, self.test, self.representative)

    def _check_strategy(self) -> None:
        """Refuses an unknown name; whether the devices are there is known when training starts."""
        if isinstance(self.strategy, str) and self.strategy not in STRATEGIES:
            raise SettingError(
                received=f"strategy={self.strategy!r}",
                expected=nearest(self.strategy, STRATEGIES),
                fix="use one of them, a tf.distribute strategy, or None for one device",
            )

    def split(self, name: SplitName) -> Split:
        """Returns a split by its name.

        Raises:
            SettingError: The task has none of that name.

        Example:
            >>> import tfopt
            >>> tfopt.Task.digits().split("validation").size
            359
        """
        found = {key: split for key, split in self._splits().items() if split is not None}
        if name not in found:
            raise SettingError(
                received=f"split={name!r}",
                expected=nearest(str(name), found),
                fix="name a split that the task has",
            )
        return found[name]

    def class_name(self, number: int) -> str:
        """Returns the name of a class; its number, if the task names none such."""
        names = self.class_names or ()
        return names[number] if number < len(names) else str(number)

    def augmented(self, augment: Callable[[Any], Any]) -> Self:
        """Returns the same task with its training inputs changed at random in each epoch.

        Validation, test and calibration see the data as it is.

        Args:
            augment: Takes a batch of inputs as the model does, as tensors, and returns one of the
                same shapes. It runs in a `tf.data` pipeline, so random numbers are to be
                TensorFlow's; the task's seed is set before.

        Returns:
            A task that has no `source`, since a function is no JSON.

        Example:
            >>> import tensorflow as tf, tfopt
            >>> tfopt.Task.digits().augmented(tf.image.random_flip_left_right).source is None
            True
        """
        return dataclasses.replace(self, augment=augment, source=None)

    def grouped(self, groups: Mapping[str, groupings.Grouping]) -> Self:
        """Returns the same task with groups whose samples are measured apart, beside the classes.

        An optimized model can be as good as before on the whole and worse for some.

        Args:
            groups: By a name, such as `"camera"`: a function of a batch (x, y), as the task holds
                them, to a name for each sample, or such names by split: `{"test": names}`.

        Returns:
            A task that has no `source`, since a function is no JSON.

        Raises:
            DataError: There are not as many names as samples.
            SettingError: They are no groups.

        Example:
            >>> import tfopt
            >>> task = tfopt.Task.digits().grouped({"dark": lambda x, y: x.mean((1, 2, 3)) < 0.3})
            >>> list(task.groups)
            ['dark']
        """
        more = groupings.checked(groups, self._splits())
        return dataclasses.replace(self, groups={**self.groups, **more}, source=None)

    def distributed(self, strategy: Any) -> Self:
        """Returns the same task, with fine-tuning on several devices or machines.

        Each batch is split among copies of the model, and their gradients are added up. Batch norms
        see their copy's share of a batch. Everything else runs as it does without.

        Args:
            strategy: `"mirrored"` for all GPUs of this machine, `"multi_worker"` for the machines
                that the environment variable TF_CONFIG names (call nothing else of TensorFlow
                before, and give each the same model and data), a MirroredStrategy or
                MultiWorkerMirroredStrategy of `tf.distribute`, or
                None for one device.

        Returns:
            A task that remembers a strategy in its `source`, if it has one; a strategy given as an
            object is no JSON.

        Raises:
            SettingError: There is no strategy of that name.

        Example:
            >>> import tfopt
            >>> tfopt.Task.digits().distributed("mirrored").strategy
            'mirrored'
        """
        source = self.source and {key: self.source[key] for key in self.source if key != "strategy"}
        if source and strategy is not None:
            source = source | {"strategy": strategy} if isinstance(strategy, str) else None
        return dataclasses.replace(self, strategy=strategy, source=source)

    def representative_inputs(self, count: int, *, choice: Choice = "random") -> Arrays:
        """Returns inputs to calibrate with, the same ones for the same seed.

        Args:
            count: How many; all, if there are fewer.
            choice: Which ones: at `random`, `balanced` over the classes, or `spread` out.

        Raises:
            DataError: They are not finite, or have no classes to balance.

        Example:
            >>> import tfopt
            >>> tfopt.Task.digits().representative_inputs(100).shape
            (100, 8, 8, 1)
        """
        split = self.train
        if self.representative is not None:
            split = ArraySplit.of_inputs(self.representative)
            if choice == "balanced":
                raise DataError(
                    received="representative inputs of their own, which have no classes",
                    expected="samples from train, to take the same number of each class",
                    fix="use representative_choice='random' or 'spread', or leave representative "
                    "out of the task",
                )
        positions = {
            "random": lambda: sample_positions(split.size, count, self.seed),
            "balanced": lambda: balanced_positions(split, count, self.seed),
            "spread": lambda: spread_positions(split, count, self.seed),
        }[choice]()
        inputs = split.take(positions)
        check_finite(inputs, "the representative inputs")
        return inputs

    def fingerprint(self) -> str:
        """Returns a sha256 over the content of all splits and the representative inputs."""
        whole = hashlib.sha256()
        for name, split in self._splits().items():
            whole.update(f"{name} {split.fingerprint() if split else None}".encode())
        if self.representative is not None:
            whole.update(ArraySplit.of_inputs(self.representative).fingerprint().encode())
        return whole.hexdigest()

    def check(self, model: Any) -> None:
        """Refuses a model that the data does not fit, in milliseconds.

        Args:
            model: A Keras model; only the shapes and types of its inputs and outputs are read.

        Raises:
            DataError: Number, names, shapes or types of inputs or labels, or the number of
                classes, do not fit.
        """
        classes = len(self.class_names) if self.class_names is not None else None
        for name, split in self._splits().items():
            if split is not None:
                fit.check_inputs(model, split, name)
                fit.check_labels(model, split, name, loss=self.loss, classes=classes)

    def check_training(self, model: Any) -> None:
        """Refuses a model that cannot be trained or judged on this task, as `check` does.

        Raises:
            DataError: As for `check`.

        Warns:
            DataWarning: The outputs are logits, and the loss takes them for probabilities. A task
                says so once of an output, not again at each step.
        """
        self.check(model)
        for text in fit.unfit_losses(model, self.loss):
            if text not in self._told:
                self._told.add(text)
                warnings.warn(text, DataWarning, stacklevel=2)

    def _splits(self) -> dict[str, Split | None]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def check_task(task: Any) -> None:
    """Refuses what is no task, before anything is done with it.

    Raises:
        SettingError: It is none.

    Example:
        >>> check_task(None)
        Traceback (most recent call last):
        ...
        tfopt.errors.SettingError: Received task=None; expected a tfopt.Task. Fix: pass task=tfopt.Task.from_arrays(train, validation, loss=...).
    """  # noqa: E501 - a doctest's expected line cannot be wrapped
    if not isinstance(task, TaskBase):
        raise SettingError(
            received="task=None" if task is None else f"a task of type {type(task).__name__}",
            expected="a tfopt.Task",
            fix="pass task=tfopt.Task.from_arrays(train, validation, loss=...)",
        )
