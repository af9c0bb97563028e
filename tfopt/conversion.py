"""A Keras model as the best file a target allows, without training it again."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

from tfopt import facts
from tfopt.data import as_arrays, length
from tfopt.errors import BudgetError, SettingError
from tfopt.keras_gate import load_model, tf_keras
from tfopt.measure.checks import check_drops
from tfopt.post_training.choice import Refined, can_refine, refine
from tfopt.target import Target, check_target
from tfopt.tflite.convert import converted

if TYPE_CHECKING:
    from tfopt.data import Arrays
    from tfopt.task import Task


def convert(
    model: Any,
    *,
    task: Task | None = None,
    target: Target,
    representative: Arrays | None = None,
) -> bytes:
    """Converts a Keras model for a target and proves the file in the interpreter.

    With a task, post-training techniques (equalized channels, corrected biases, learned rounding)
    are tried, and what measures best on the validation data is taken: never a file worse than the
    plain conversion. `Target.int8(refine=False)` leaves the weights as they are; so do targets of
    floating point, and models from quantization-aware training. Layers are kept in finer numbers
    for a `max_accuracy_drop` all the same.

    The same model and data give the same bytes, in any process. The batch is left open, so that
    the file can run many samples at a time, but for models that the converter takes only with a
    batch of 1.

    Args:
        model: A path, a Keras 3 model or a tf_keras model; it is left as it was.
        task: Gives the samples that activation ranges are calibrated with, and the validation data.
        target: The numerics and types of the file. With a `max_accuracy_drop`, layers are kept in
            finer numbers until the metric drops no more than that on the validation data.
        representative: Inputs to calibrate with instead of the task's; without a task they are
            enough, and `tfopt.synthetic_inputs` makes them of the model alone.

    Returns:
        The file's content.

    Raises:
        BudgetError: No file keeps `max_accuracy_drop`; it says how near the best came.
        ConversionError: The converter fails on the model, or the file does not run, or is not of
            the types asked for.
        FloatOpsError: A file for an integer target has ops in floating point, and the target does
            not allow it. If it does, a `FloatOpsWarning` lists them.
        DataError: The task's data does not fit the model.
        SettingError: There is no task and the target needs one, or `target` is none.
        ModelError: The model cannot be loaded or traced, or is still wrapped for training.
        MissingPackageError: The target names the LiteRT Quantizer, which is not installed.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import dense_net
        >>> tflite = convert(dense_net(), task=tfopt.Task.digits(), target=tfopt.Target.int8())
        >>> tfopt.inspect(tflite).integer_only
        True

    References:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018; those of the techniques.
    """
    return convert_and_tell(model, task=task, target=target, representative=representative)[0]


def convert_and_tell(
    model: Any,
    *,
    task: Task | None = None,
    target: Target,
    representative: Arrays | None = None,
) -> tuple[bytes, Refined | None]:
    """Converts as `convert` does, and tells what was tried.

    Returns:
        The file's content; and how it was found, None if there was nothing to try.
    """
    check_target(target)
    limit = target.max_accuracy_drop
    if limit is not None and task is None:
        raise SettingError(
            received=f"max_accuracy_drop={limit:g} without a task",
            expected="validation data to measure the drop on",
            fix="pass task=tfopt.Task.from_arrays(...)",
        )
    if task is not None:
        check_drops(task.metric, **target.drops)
    as_it_is = task is None and isinstance(model, tf_keras.Model)
    loaded = model if as_it_is else load_model(model)
    facts.check_stripped(loaded)
    refined = None
    if task is None or (limit is None and not can_refine(loaded, target)):
        tflite, told = converted(loaded, task=task, target=target, representative=representative)
    else:
        if representative is not None:
            inputs = as_arrays(representative, "the representative inputs")
            task = dataclasses.replace(task, representative=inputs)
            target = _with_all(target, length(inputs))
        refined = refine(loaded, task=task, target=target)
        if not refined.keeps_budget:
            raise _too_large_a_drop(refined)
        tflite, told = refined.best.tflite, refined.best.warnings
    for warning in told:
        warnings.warn(warning, stacklevel=3)
    return tflite, refined


def _with_all(target: Target, samples: int) -> Target:
    """The target, calibrated with all of so many samples."""
    return dataclasses.replace(
        target, representative_samples=samples, representative_choice="random"
    )


def _too_large_a_drop(refined: Refined) -> BudgetError:
    """Says how near the best file came."""
    best = refined.best
    return BudgetError(
        received=f"a best file ({best.name}, {len(best.tflite):,} bytes) whose metric drops by "
        f"{refined.drop} on the validation data",
        expected=f"at most max_accuracy_drop={best.target.max_accuracy_drop:g}",
        fix="allow more, or train for it: tfopt.optimize(model, [tfopt.QuantizationAware()], ...)",
    )
