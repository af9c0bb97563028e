"""What a model is worth: a metric over a whole split, with its confidence interval."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt.errors import DataError, ModelError
from tfopt.measure.checks import check_metric
from tfopt.measure.class_labels import check_classes
from tfopt.measure.metrics import decide, sample_classes
from tfopt.measure.predictions import gathered, opened, output_names, predictions
from tfopt.measure.scores import AnyScore, Kind, PerOutput, Statistic, score_of
from tfopt.report import OutputScore
from tfopt.tables import metric
from tfopt.task.base import SplitName, check_task
from tfopt.task.losses import each, of_numbers

if TYPE_CHECKING:
    from tfopt.task import Task
    from tfopt.tflite.interpreter import TFLiteModel

_KEPT_BYTES = 2**28


@dataclasses.dataclass(frozen=True)
class Quality:
    """A metric measured over a split.

    Args:
        metric: Its name.
        value: The metric, in its own units (accuracy is a share, 0 to 1).
        low: Lower end of the 95 % confidence interval.
        high: Upper end of it.
        samples: How many samples were evaluated.
        split: Which ones: train, validation or test.
        higher_is_better: Whether larger values are better.
        kind: Whether the outputs stand for classes or for numbers; None if the metric is a function
            that does not tell.
        outputs: The model's outputs, (samples, ...) each, for `agreement`; of every k-th sample
            only where all of them would not fit 256 MB (the same ones for every model).
        statistic: The metric of a choice of the samples, by their positions; see `difference`.
        right: Whether each sample is right, (samples,), where the metric is the share of those.
        parts: The metric of each output, where the task names one for each: the figures above are
            of the first it names.
        classes: The right class of each sample, (samples,); None if they have none, or the metric
            is over several outputs.
        output_names: The names of `outputs`, in order.
    """

    metric: str
    value: float
    low: float
    high: float
    samples: int
    split: str
    higher_is_better: bool
    kind: Kind | None = None
    outputs: tuple[np.ndarray, ...] = dataclasses.field(default=(), repr=False, compare=False)
    statistic: Statistic | None = dataclasses.field(default=None, repr=False, compare=False)
    right: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)
    parts: tuple[OutputScore, ...] = ()
    classes: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)
    output_names: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The quality as JSON values, without what is known of single samples."""
        record = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.compare
        }
        return record | {"parts": [dataclasses.asdict(part) for part in self.parts]}

    def __str__(self) -> str:
        told = (
            f"{self.metric} {metric(self.value)} "
            f"(95 % interval {metric(self.low)} to {metric(self.high)}) "
            f"on {self.samples:,} {self.split} samples"
        )
        others = [
            f"{part.output} {part.metric} {metric(part.score.value)} "
            f"(95 % interval {metric(part.score.low)} to {metric(part.score.high)})"
            for part in self.parts[1:]
        ]
        return "\n".join([told, *others])


def evaluate(
    tflite_or_model: TFLiteModel | bytes | str | os.PathLike[str] | Any,
    *,
    task: Task,
    split: SplitName | None = None,
) -> Quality:
    """Measures the task's metric over every sample of a split, in batches, on all cores.

    A `.tflite` runs in the interpreter without TensorFlow. Its interval is Wilson's where each
    sample is right or wrong, else a bootstrap over the samples, seeded by the task.

    Args:
        tflite_or_model: A `.tflite` as bytes, path or `TFLiteModel` (to choose its kernels), or
            anything `tfopt.load_model` takes.
        task: The data and the metric: a name, a metric object of Keras, or a function, which gets
            the labels and outputs of all samples, (samples, ...), as lists of arrays if the model
            has several outputs. A dict or tuple of these measures each output by its own.
        split: `"train"`, `"validation"` or `"test"`; None is test if the task has one, else
            validation.

    Returns:
        The metric and its interval: of several outputs the mean, or the first one the task names a
        metric for, and those of all in `parts`.

    Raises:
        DataError: The samples or labels do not fit the model.
        SettingError: `task` is none, the metric or the split is unknown, the metric is of classes
            and the labels are not, or the metric's function fails.
        InterpreterError: The file cannot be run.
        ModelError: The model cannot be loaded, or its outputs are not numbers.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> quality = evaluate(small_cnn(), task=tfopt.Task.digits(), split="validation")
        >>> quality.low <= quality.value <= quality.high
        True

    References:
        `tfopt.measure.intervals` names the papers of the intervals.
    """
    check_task(task)
    check_metric(task.metric)
    chosen = split or ("validation" if task.test is None else "test")
    samples = task.split(chosen)
    model = opened(tflite_or_model, task)
    names = output_names(model)
    score = score_of(task.metric, task.loss, names)
    check_classes(score, samples, task.loss, names)
    kept, classes = _Kept(samples.size), _Classes(score, task.loss, names)
    count = 0
    for labels, outputs in gathered(predictions(model, samples)):
        _check_numbers(outputs, count)
        score.add(labels, outputs)
        kept.add(outputs)
        classes.add(labels, outputs)
        count += len(outputs[0])
    scored = score.result(count, task.seed)
    return Quality(
        metric=score.name,
        value=scored.value,
        low=scored.low,
        high=scored.high,
        samples=count,
        split=chosen,
        higher_is_better=score.higher_is_better,
        kind=score.kind,
        outputs=kept.arrays(),
        statistic=scored.statistic,
        right=scored.right,
        parts=scored.parts,
        classes=classes.array(),
        output_names=tuple(names),
    )


def agreement(
    outputs: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    *,
    kind: Kind | None = None,
) -> float:
    """Says how far a model's outputs agree with another's on the same samples.

    For classes it is the share of equal decisions: the largest output, or for a single one which
    side of 0.5 a probability (the reference lies within 0 and 1) or of 0 a logit lies; integer
    outputs are compared as they are. For values it is the coefficient of determination, at least
    0: the share of the reference's variance that the outputs reproduce. Several outputs are
    averaged.

    Args:
        outputs: The outputs of one model, (samples, ...) each, such as `Quality.outputs`.
        reference: Those of the other.
        kind: What they stand for, such as `Quality.kind`; None takes several in the last axis, a
            probability and integers for classes, and other outputs for values.

    Returns:
        0 to 1; 1 is full agreement.

    Raises:
        DataError: Their number or shapes differ.

    Example:
        >>> ours, theirs = [np.array([[.9, .1], [.4, .6]])], [np.array([[.8, .2], [.6, .4]])]
        >>> agreement(ours, theirs)
        0.5
    """
    shapes = [array.shape for array in outputs], [array.shape for array in reference]
    if shapes[0] != shapes[1] or not outputs:
        raise DataError(
            received=f"outputs of shapes {shapes[0]} and a reference of shapes {shapes[1]}",
            expected="one or more outputs, the same shapes in both",
            fix="evaluate both models on the same split",
        )
    shares = [_agreement(*pair, kind) for pair in zip(outputs, reference, strict=True)]
    return float(np.mean(shares))


def _agreement(output: np.ndarray, reference: np.ndarray, kind: Kind | None) -> float:
    """The agreement of a single output."""
    if reference.dtype.kind in "iub" and kind != "values":
        return float(np.mean(output == reference))
    single = reference.ndim == 1 or reference.shape[-1] == 1
    probability = reference.min() >= 0 and reference.max() <= 1
    if kind == "classes" or (kind is None and (probability or not single)):
        threshold = 0.5 if probability else 0.0
        return float(np.mean(decide(output, threshold) == decide(reference, threshold)))
    exact = reference.astype(np.float64)
    error = ((output - exact) ** 2).sum()
    variance = ((exact - exact.mean(axis=0)) ** 2).sum()
    if variance == 0:
        return float(error == 0)
    return max(0.0, float(1 - error / variance))


def _check_numbers(outputs: list[np.ndarray], start: int) -> None:
    """Refuses NaN, of which argmax would make a class."""
    for output in outputs:
        if output.dtype.kind == "f" and np.isnan(np.min(output)):
            raise ModelError(
                received=f"a model whose outputs hold NaN (samples {start} to "
                f"{start + len(output) - 1})",
                expected="numbers",
                fix="look for a training that diverged, or an activation that overflows",
            )


class _Classes:
    """The right classes of the samples, of the output that the metric is about.

    Args:
        score: What measures the metric.
        loss: The task's loss.
        names: The names of the outputs.
    """

    def __init__(self, score: AnyScore, loss: Any, names: Sequence[str]) -> None:
        self._output = score.first if isinstance(score, PerOutput) else 0
        single = isinstance(score, PerOutput) or len(names) == 1
        numbers = score.kind == "values" or of_numbers(each(loss, names)[self._output])
        self._parts: list[np.ndarray] | None = [] if single and not numbers else None

    def add(self, labels: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        if self._parts is None:
            return
        found = sample_classes(labels[self._output], outputs[self._output])
        self._parts = None if found is None else [*self._parts, found]

    def array(self) -> np.ndarray | None:
        return None if self._parts is None else np.concatenate(self._parts)


class _Kept:
    """Outputs, of every k-th sample if all would be too many bytes."""

    def __init__(self, samples: int) -> None:
        self._samples, self._seen, self._step = samples, 0, 0
        self._parts: list[list[np.ndarray]] = []

    def add(self, outputs: list[np.ndarray]) -> None:
        count = len(outputs[0])
        if not self._step:
            whole = sum(output.nbytes for output in outputs) * self._samples // count
            self._step = max(1, -(-whole // _KEPT_BYTES))
        first = -self._seen % self._step
        self._parts.append([output[first :: self._step] for output in outputs])
        self._seen += count

    def arrays(self) -> tuple[np.ndarray, ...]:
        return tuple(np.concatenate(column) for column in zip(*self._parts, strict=True))
