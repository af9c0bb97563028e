"""What a `.tflite` costs to run: the latency of one sample."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt.errors import SettingError
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.tensor_spec import TensorSpec

# However slow a file is, its percentiles are of this many runs at least.
_FEWEST_RUNS = 20
# How long a file runs before it is the next one's turn: long against waking up its caches, short
# against what else the machine does. A fast file takes at least so many turns.
_TURN_SECONDS = 0.02
_TURNS = 10


@dataclasses.dataclass(frozen=True)
class Latency:
    """How long one sample takes.

    Args:
        median_ms: Median, in milliseconds.
        p10_ms: 10th percentile: how fast it is when nothing disturbs.
        p90_ms: 90th percentile.
        runs: How many runs were timed.
        threads: Threads of the interpreter.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    threads: int

    @classmethod
    def of(cls, nanoseconds: Sequence[int], threads: int) -> Latency:
        """Sums up single timings."""
        p10, median, p90 = np.percentile(nanoseconds, [10, 50, 90]) / 1e6
        return cls(float(median), float(p10), float(p90), len(nanoseconds), threads)

    def to_dict(self) -> dict[str, Any]:
        """The latency as JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.median_ms:.3g} ms (median; {self.p10_ms:.3g} to {self.p90_ms:.3g} from the "
            f"10th to the 90th percentile) over {self.runs:,} runs on {self.threads} thread(s)"
        )


def benchmark(
    tflite: bytes | str | os.PathLike[str],
    *,
    runs: int = 500,
    warmup: int = 10,
    threads: int = 1,
    seconds: float = 2.0,
    seed: int = 0,
) -> Latency:
    """Times single samples through a `.tflite` on this machine.

    Only the interpreter's own run is timed, not the way of the data into it. On a busy machine
    compare files by `benchmark_interleaved`, not by two calls of this.

    Args:
        tflite: The file's content or its path.
        runs: The most runs to time.
        warmup: The most runs before, which are not timed.
        threads: Threads of the interpreter.
        seconds: The time after which no more than 20 runs are made, and a fifth of which bounds the
            warm-up: a slow file takes as long as 20 runs do.
        seed: Seeds the random inputs.

    Returns:
        Median, 10th and 90th percentile.

    Raises:
        InterpreterError: The file cannot be run.
        SettingError: A number is out of its range.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), target=tfopt.Target.float32())
        >>> latency = benchmark(tflite, runs=50)
        >>> latency.p10_ms <= latency.median_ms <= latency.p90_ms
        True
    """
    return benchmark_interleaved(
        [tflite], runs=runs, warmup=warmup, threads=threads, seconds=seconds, seed=seed
    )[0]


def benchmark_interleaved(
    files: Sequence[bytes | str | os.PathLike[str]],
    *,
    runs: int = 500,
    warmup: int = 10,
    threads: int = 1,
    seconds: float = 2.0,
    seed: int = 0,
) -> list[Latency]:
    """Times several files in turns, so that what disturbs the machine disturbs them alike.

    Args:
        files: The files, as content or path.
        runs: The most runs to time of each.
        warmup: The most runs of each before, which are not timed.
        threads: Threads of the interpreter.
        seconds: The time for each file, as in `benchmark`.
        seed: Seeds the random inputs.

    Returns:
        The latency of each, in order; their ratios hold better than any of them alone.

    Raises:
        InterpreterError: A file cannot be run.
        SettingError: A number is out of its range.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import dense_net, small_cnn
        >>> files = [tfopt.convert(model, target=tfopt.Target.float32())
        ...          for model in (dense_net(), small_cnn())]
        >>> [latency.runs for latency in benchmark_interleaved(files, runs=30)]
        [30, 30]
    """
    for name, value, least in (("runs", runs, 1), ("warmup", warmup, 0), ("seconds", seconds, 0)):
        if value < least:
            raise SettingError(
                received=f"{name}={value}",
                expected=f"at least {least}",
                fix=f"leave {name} out for the default",
            )
    watches = [_StopWatch(file, threads, seed) for file in files]
    for watch in watches:
        watch.run(warmup, seconds / 5)
    fewest, turn = min(runs, _FEWEST_RUNS), -(-runs // _TURNS)
    for watch in watches:
        watch.reset()
    while pending := [watch for watch in watches if not watch.done(runs, fewest, seconds)]:
        for watch in pending:
            # The first run after another file's turn finds the caches cold, and is not timed.
            watch.model.invoke()
            watch.run(min(turn, runs - len(watch.times)), _TURN_SECONDS)
    return [Latency.of(watch.times, threads) for watch in watches]


class _StopWatch:
    """A file with an input put in, and the times of its runs."""

    def __init__(self, tflite: bytes | str | os.PathLike[str], threads: int, seed: int) -> None:
        self.model = TFLiteModel(tflite, threads=threads)
        self.times: list[int] = []
        generator = np.random.default_rng(seed)
        self.model.set_inputs(tuple(_sample(spec, generator) for spec in self.model.inputs))

    def run(self, most: int, seconds: float) -> None:
        """Times runs: at most so many, and none is begun after so many seconds but the first."""
        start = time.perf_counter_ns()
        for run in range(most):
            before = time.perf_counter_ns()
            if run and before - start > seconds * 1e9:
                break
            self.model.invoke()
            self.times.append(time.perf_counter_ns() - before)

    def reset(self) -> None:
        """Forgets the runs so far."""
        self.times.clear()

    def done(self, runs: int, fewest: int, seconds: float) -> bool:
        """Whether enough runs were timed, or as many as the time allows."""
        enough = len(self.times) >= fewest and sum(self.times) > seconds * 1e9
        return enough or len(self.times) >= runs


def _sample(spec: TensorSpec, generator: np.random.Generator) -> np.ndarray:
    """A random sample of an input's type; sizes the file leaves open are 1.

    Integers that are not quantized are 0 and 1: word numbers that every vocabulary has.
    """
    shape = (1, *(size or 1 for size in spec.shape[1:]))
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return generator.random(shape).astype(dtype)
    if spec.scale is not None:
        bounds = np.iinfo(dtype)
        return generator.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
    return generator.integers(0, 2, shape).astype(dtype)
