"""Runs a `.tflite` over many batches on all cores."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from tfopt.data import Arrays
from tfopt.errors import SettingError
from tfopt.tflite.interpreter import TFLiteModel


def available_cores() -> int:
    """Returns the number of cores this process may use, which can be fewer than the machine has.

    Example:
        >>> available_cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def predict_batches(
    tflite: TFLiteModel | bytes | str | os.PathLike[str],
    batches: Iterable[Arrays],
    *,
    workers: int | None = None,
) -> Iterator[list[np.ndarray]]:
    """Runs batches on all cores, streaming: a few at a time in memory, outputs in order.

    The interpreter lets go of Python's lock while it computes, so threads with an interpreter each
    keep every core busy; its own threads do not, since most of a net's ops are too small to share.

    Args:
        tflite: The file's content or its path, or a model of it that nothing else uses meanwhile.
        batches: The inputs, as `TFLiteModel.predict` takes them. Batches of some dozens of samples
            keep the overhead small.
        workers: Threads; None for the cores this process may use.

    Returns:
        For each batch its outputs, as `TFLiteModel.predict` gives them.

    Raises:
        InterpreterError: The file cannot be loaded (at once), or fails to run (when iterated).
        DataError: A batch does not fit the file's inputs.
        SettingError: `workers` is less than 1.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), target=tfopt.Target.float32())
        >>> batches = (np.zeros((size, 8, 8, 1), np.float32) for size in (32, 32, 5))
        >>> [outputs[0].shape for outputs in predict_batches(tflite, batches)]
        [(32, 10), (32, 10), (5, 10)]
    """
    workers = available_cores() if workers is None else workers
    if workers < 1:
        raise SettingError(
            received=f"workers={workers}", expected="at least 1", fix="leave it out for all cores"
        )
    model = tflite if isinstance(tflite, TFLiteModel) else TFLiteModel(tflite)
    return map(model.predict, batches) if workers == 1 else _in_parallel(model, batches, workers)


def _in_parallel(
    model: TFLiteModel, batches: Iterable[Arrays], workers: int
) -> Iterator[list[np.ndarray]]:
    """A pool of threads, each of which takes an idle model or makes one."""
    batches = iter(batches)
    head = list(itertools.islice(batches, 1))
    for x in head:
        model.learn_batch(x)  # before it has twins, which then need not find it out again
    idle = [model]

    def run(x: Arrays) -> list[np.ndarray]:
        try:
            mine = idle.pop()
        except IndexError:
            mine = model.twin()
        outputs = mine.predict(x)
        idle.append(mine)
        return outputs

    waiting: collections.deque[Future[list[np.ndarray]]] = collections.deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for x in itertools.chain(head, batches):
            waiting.append(pool.submit(run, x))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
