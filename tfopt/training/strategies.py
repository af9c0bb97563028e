"""Training on several devices or machines at once, by `tf.distribute`."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfopt.errors import SettingError

if TYPE_CHECKING:
    import tf_keras

    from tfopt.task import Task

_CLUSTER = "TF_CONFIG"


def strategy_of(task: Task) -> tf.distribute.Strategy | None:
    """Returns the strategy a task is trained with, None for a single device.

    Args:
        task: Its `strategy` is a name, a strategy of TensorFlow, or None.

    Raises:
        SettingError: It cannot be had on this machine, does not go with the batch size, or is one
            that copies of a model on each device are no part of.

    Example:
        >>> import tfopt
        >>> strategy_of(tfopt.Task.digits()) is None
        True
    """
    if task.strategy is None:
        _refuse_ambient()
        return None
    named = isinstance(task.strategy, str)
    strategy = _made(task.strategy) if named else task.strategy
    if not isinstance(
        strategy, (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)
    ):
        raise SettingError(
            received=f"strategy={type(strategy).__name__}",
            expected="a MirroredStrategy or a MultiWorkerMirroredStrategy: masks and clusters are "
            "kept alike in copies of the model on each device",
            fix="use strategy='mirrored', or None",
        )
    replicas = strategy.num_replicas_in_sync
    if task.batch_size % replicas:
        raise SettingError(
            received=f"batch_size={task.batch_size} for {replicas} replicas",
            expected="a multiple: each replica gets its share of a batch",
            fix=f"use batch_size={-(-task.batch_size // replicas) * replicas}",
        )
    return strategy


def begin(name: str) -> None:
    """Sets a strategy up, at the start of a process: later TensorFlow refuses several workers.

    Args:
        name: Of the strategy.

    Raises:
        SettingError: It cannot be had here or now.
    """
    _made(name)


def scope(task: Task) -> contextlib.AbstractContextManager[Any]:
    """Returns the scope in which what is trained has to be made: the model, masks, clusters.

    Args:
        task: The task to train on.

    Raises:
        SettingError: As for `strategy_of`.
    """
    strategy = strategy_of(task)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def spans_workers(strategy: tf.distribute.Strategy | None) -> bool:
    """Returns whether several processes train together."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def check_workers(
    task: Task, *, seconds: float | None = None, early_stopping: int | None = None
) -> None:
    """Refuses, before several workers begin, what each of them would decide by itself.

    Args:
        task: The task to train on.
        seconds: The budget, if it is a time.
        early_stopping: The patience, if there is any.

    Raises:
        SettingError: One of them is given, and several workers train together.
    """
    given = {"seconds": seconds, "early_stopping": early_stopping}
    set_ones = [f"{name}={value:g}" for name, value in given.items() if value is not None]
    if set_ones and spans_workers(strategy_of(task)):
        raise SettingError(
            received=f"{' and '.join(set_ones)} with several workers",
            expected="a budget in epochs or steps: each worker would decide by itself, and wait "
            "for the others for ever",
            fix="leave it out",
        )


def is_chief(task: Task) -> bool:
    """Returns whether this process is the one to write files: of several workers, only one is.

    Args:
        task: What is trained on.

    Example:
        >>> import tfopt
        >>> is_chief(tfopt.Task.digits())
        True
    """
    if not spans_workers(strategy_of(task)):
        return True
    config = json.loads(os.environ.get(_CLUSTER) or "{}")
    own = config.get("task", {})
    if own.get("type", "chief") in ("chief", "master"):
        return True
    first = own["type"] == "worker" and int(own.get("index", 0)) == 0
    return first and "chief" not in config.get("cluster", {})


def on_all_replicas(update: Callable[[], None]) -> None:
    """Runs an update of variables once for all replicas, from within one of them or outside.

    Inside a replica a variable that all share cannot be set, since each could set another value.

    Args:
        update: Changes variables, from what is the same in all replicas.
    """
    context = tf.distribute.get_replica_context()
    if context is None or not tf.distribute.has_strategy():
        update()
        return

    @tf.autograph.experimental.do_not_convert
    def merged(strategy: tf.distribute.Strategy) -> None:
        del strategy
        update()

    context.merge_call(merged)


def made_in(model: tf_keras.Model, strategy: tf.distribute.Strategy) -> bool:
    """Returns whether a model's variables were made for a strategy."""
    # not `model.distribute_strategy`, which for a model of no strategy is the ambient one
    return getattr(model, "_distribution_strategy", None) is strategy


@functools.cache  # several strategies over the same devices do not go well in one process
def _made(name: str) -> tf.distribute.Strategy:
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if not os.environ.get(_CLUSTER):
        raise SettingError(
            received=f"strategy={name!r} without the environment variable {_CLUSTER}",
            expected="the cluster and this process's place in it",
            fix=f'set it on each worker, such as {_CLUSTER}=\'{{"cluster": {{"worker": ["host1:'
            '12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}\'',
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError) as error:
        raise SettingError(
            received=f"strategy={name!r}, which TensorFlow cannot set up ({error})",
            expected="to be called before anything else in the process uses TensorFlow",
            fix="make tf.distribute.MultiWorkerMirroredStrategy() the first thing in your script, "
            "and pass it as the task's strategy",
        ) from error


def _refuse_ambient() -> None:
    if tf.distribute.has_strategy():
        raise SettingError(
            received="a call inside of strategy.scope(), with a task that names no strategy",
            expected="the strategy as part of the task",
            fix="leave the scope, and use task.distributed(strategy)",
        )
