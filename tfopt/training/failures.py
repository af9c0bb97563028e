"""Says in words what would end a training with a trace out of TensorFlow's graph."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt.errors import DataError, SettingError, TfoptError
from tfopt.keras_gate import tf_keras
from tfopt.task.losses import each

if TYPE_CHECKING:
    from tfopt.task import Task


@contextlib.contextmanager
def of_augmentation(task: Task) -> Iterator[None]:
    """Names the augmentation if the graph of it cannot be built inside.

    Args:
        task: Its `augment` is what fails.

    Raises:
        SettingError: It does.
    """
    try:
        yield
    except Exception as error:
        raise SettingError(
            received=f"augment={_called(task.augment)}, which fails on a batch ({_reason(error)})",
            expected="a function that takes a batch of inputs as tensors and returns one, made of "
            "TensorFlow operations",
            fix="try it by hand: augment(tf.constant(inputs[:8]))",
        ) from error


@contextlib.contextmanager
def of_training(model: tf_keras.Model, task: Task) -> Iterator[None]:
    """Names what is to blame if a model cannot be trained inside: the loss, the data, the memory.

    Args:
        model: What is trained.
        task: What it is trained on.

    Raises:
        DataError: The data does not fit the model or the loss, or cannot be read.
        SettingError: A loss of the user's own fails, or a batch needs more memory than there is.
    """
    try:
        yield
    except TfoptError:
        raise
    except tf.errors.ResourceExhaustedError as error:
        half = task.batch_size // 2
        raise SettingError(
            received=f"batch_size={task.batch_size}, for which training model {model.name!r} needs "
            "more memory than there is",
            expected="batches that fit into memory",
            fix=f"lower batch_size, to {half} or less" if half else "free memory",
        ) from error
    except Exception as error:
        for own in each(task.loss, model.output_names):
            if _passes_through(error, own):
                raise SettingError(
                    received=f"loss={_called(own)}, which fails on the labels and outputs of model "
                    f"{model.name!r} ({_reason(error)})",
                    expected="a function of (labels, outputs), made of TensorFlow operations",
                    fix="try it by hand: loss(labels[:8], model(inputs[:8]))",
                ) from error
        augmented = "" if task.augment is None else f", changed by augment={_called(task.augment)},"
        if isinstance(error, tf.errors.InvalidArgumentError | ValueError):
            raise DataError(
                received=f"training data{augmented} that model {model.name!r} cannot be trained on "
                f"({_reason(error)})",
                expected=f"inputs of shape {model.input_shape}, and labels that fit outputs of "
                f"shape {model.output_shape} and the loss",
                fix="check the labels' shape and range, and that the loss is the one the model was "
                "trained with" + (", or train without the augmentation" if augmented else ""),
            ) from error
        if isinstance(error, tf.errors.OpError) and "IteratorGetNext" in str(error):
            raise DataError(
                received=f"training data{augmented} of which a batch cannot be read "
                f"({_reason(error)})",
                expected="a dataset that gives all of its batches",
                fix="mend the augmentation" if augmented else "mend what the dataset maps",
            ) from error
        raise


def _passes_through(error: Exception, loss: Any) -> bool:
    """Whether an error's trace, which AutoGraph puts into its text, leads into a user's loss."""
    code = _code_of(loss)
    if code is None:
        return False
    last = max(line for *_, line in code.co_lines() if line is not None)
    return any(
        file == code.co_filename and code.co_firstlineno <= int(line) <= last
        for file, line in re.findall(r'File "(.+?)", line (\d+)', str(error))
    )


def _code_of(loss: Any) -> Any:
    """Where a loss is written, None for one of Keras."""
    kind = type(loss)
    for written in (loss, getattr(kind, "call", None), vars(kind).get("__call__")):
        code = getattr(written, "__code__", None)
        if code is not None:
            return None if written.__module__.startswith("tf_keras") else code
    return None


def _called(function: Any) -> str:
    """What a function or an object is called."""
    return getattr(function, "__name__", None) or type(function).__name__


def _reason(error: Exception) -> str:
    """The line of a TensorFlow trace that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Received a label" in line or "Error: " in line]
    return (told or lines or [type(error).__name__])[-1][:300].rstrip(". ")
