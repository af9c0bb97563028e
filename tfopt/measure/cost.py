"""What a `.tflite` costs to run: the latency of one sample."""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfopt.errors import SettingError
from tfopt.measure.intervals import bootstrap
from tfopt.report import Ratio
from tfopt.settings import check_at_least, check_whole
from tfopt.tflite.interpreter import TFLiteModel
from tfopt.tflite.tensor_spec import TensorSpec

# However slow a file is, its percentiles are of this many runs at least.
_FEWEST_RUNS = 20
# How long a file runs before it is the next one's turn: long against waking up its caches, short
# against what else the machine does. A fast file takes at least so many turns.
_TURN_SECONDS = 0.02
_TURNS = 25
_QUANTILES = range(0, 101, 5)
_OPEN_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Latency:
    """How long one sample takes.

    Args:
        median_ms: Median, in milliseconds.
        p10_ms: 10th percentile: how fast it is when nothing disturbs.
        p90_ms: 90th percentile.
        runs: How many runs were timed.
        threads: Threads of the interpreter.
        quantiles_ms: The 0th, 5th, ... 100th percentile, 21 numbers.
        turns_ms: The median of each turn, in order; see `ratio`.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    threads: int
    quantiles_ms: tuple[float, ...] = dataclasses.field(default=(), repr=False, compare=False)
    turns_ms: tuple[float, ...] = dataclasses.field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, turns: Sequence[Sequence[int]], threads: int) -> Latency:
        """Sums up single timings, in nanoseconds, of each turn."""
        times = np.concatenate([np.asarray(turn, np.float64) for turn in turns]) / 1e6
        p10, median, p90 = np.percentile(times, [10, 50, 90])
        return cls(
            median_ms=float(median),
            p10_ms=float(p10),
            p90_ms=float(p90),
            runs=len(times),
            threads=threads,
            quantiles_ms=tuple(np.percentile(times, _QUANTILES).tolist()),
            turns_ms=tuple(float(np.median(turn)) / 1e6 for turn in turns),
        )

    def to_dict(self) -> dict[str, Any]:
        """The latency as JSON values."""
        record = dataclasses.asdict(self)
        del record["turns_ms"]
        return record

    def __str__(self) -> str:
        return (
            f"{self.median_ms:.3g} ms (median; {self.p10_ms:.3g} to {self.p90_ms:.3g} from the "
            f"10th to the 90th percentile) over {self.runs:,} runs on {self.threads} thread(s)"
        )


def ratio(latency: Latency, reference: Latency, *, seed: int = 0) -> Ratio:
    """Returns how many times as long one file takes as another, timed in turns with it.

    Each turn is held against the other file's turn next to it, which the machine disturbed alike:
    the median of these ratios, with a bootstrap over the turns.

    Args:
        latency: Of the one, as `benchmark_interleaved` gives it.
        reference: Of the other, of the same call.
        seed: Seeds the bootstrap.

    Raises:
        SettingError: One of them was not timed in turns.

    Example:
        >>> twice = Latency.of([[200, 202]] * 9, threads=1)
        >>> ratio(twice, Latency.of([[100, 101]] * 9, threads=1)).value
        2.0
    """
    pairs = min(len(latency.turns_ms), len(reference.turns_ms))
    if not pairs:
        raise SettingError(
            received="a latency without turns",
            expected="two latencies of one call of benchmark_interleaved",
            fix="time both files in one call",
        )
    ratios = np.asarray(latency.turns_ms[:pairs]) / np.asarray(reference.turns_ms[:pairs])
    low, high = bootstrap(lambda index: float(np.median(ratios[index])), pairs, seed=seed)
    return Ratio(float(np.median(ratios)), low, high)


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
    check_whole(1, runs=runs, threads=threads)
    check_whole(0, warmup=warmup)
    check_at_least(0, seconds=seconds)
    watches = [StopWatch(TFLiteModel(file, threads=threads)) for file in files]
    for watch in watches:
        generator = np.random.default_rng(seed)
        watch.model.set_inputs(random_sample(watch.model, generator))
    timed = take_turns(watches, runs=runs, warmup=warmup, seconds=seconds)
    return [Latency.of(turns, threads) for turns in timed]


def take_turns(
    watches: Sequence[StopWatch], *, runs: int, warmup: int, seconds: float
) -> list[list[list[int]]]:
    """Times files whose inputs are set in turns, each round of them in another order.

    Args:
        watches: The files.
        runs: The most runs to time of each.
        warmup: The most runs of each before, which are not timed.
        seconds: The time after which no more than 20 runs are made, of each.

    Returns:
        For each file, for each of its turns, the nanoseconds of its runs.
    """
    for watch in watches:
        watch.run(warmup, seconds / 5)
    fewest, turn = min(runs, _FEWEST_RUNS), -(-runs // _TURNS)
    for watch in watches:
        watch.turns.clear()
    generator = random.Random(0)  # no file is always behind the same other one
    while pending := [watch for watch in watches if not watch.done(runs, fewest, seconds)]:
        for watch in generator.sample(pending, len(pending)):
            # The first run after another file's turn finds the caches cold, and is not timed.
            watch.model.invoke()
            watch.run(min(turn, runs - watch.runs), _TURN_SECONDS)
    return [watch.turns for watch in watches]


class StopWatch:
    """A file with an input put in, and the times of its runs.

    Args:
        model: The file in the interpreter.
    """

    def __init__(self, model: TFLiteModel) -> None:
        self.model = model
        self.turns: list[list[int]] = []

    @property
    def runs(self) -> int:
        """How many runs were timed."""
        return sum(map(len, self.turns))

    def run(self, most: int, seconds: float) -> None:
        """Times a turn: at most so many runs, none begun after so many seconds but the first."""
        times: list[int] = []
        start = time.perf_counter_ns()
        for run in range(most):
            before = time.perf_counter_ns()
            if run and before - start > seconds * 1e9:
                break
            self.model.invoke()
            times.append(time.perf_counter_ns() - before)
        if times:
            self.turns.append(times)

    def done(self, runs: int, fewest: int, seconds: float) -> bool:
        """Whether enough runs were timed, or as many as the time allows."""
        enough = self.runs >= fewest and sum(map(sum, self.turns)) > seconds * 1e9
        return enough or self.runs >= runs


def random_sample(model: TFLiteModel, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Returns a random sample for the inputs of a file, of the sizes that it stores."""
    stored = model.shapes
    return tuple(_sample(spec, stored[spec.index], generator) for spec in model.inputs)


def sample_shape(spec: TensorSpec, stored: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of a sample of an input: that which its file stores.

    Where it leaves a size open and stores 1, as TensorFlow's converter does, the size is 64.

    Args:
        spec: The input.
        stored: Its shape in `TFLiteModel.shapes`.

    Example:
        >>> spec = TensorSpec("image", (None, None, None, 3), "int8", 1.0, 0, 0)
        >>> sample_shape(spec, (1, 32, 1, 3))
        (32, 64, 3)
    """
    axes = zip(spec.shape[1:], stored[1:], strict=True)
    return tuple(have if have > 1 or want else _OPEN_SIZE for want, have in axes)


def _sample(
    spec: TensorSpec, stored: tuple[int, ...], generator: np.random.Generator
) -> np.ndarray:
    """A random sample of an input's type.

    Integers that are not quantized are 0 and 1: word numbers that every vocabulary has.
    """
    shape = (1, *sample_shape(spec, stored))
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return generator.random(shape).astype(dtype)
    if spec.scale is not None:
        bounds = np.iinfo(dtype)
        return generator.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
    return generator.integers(0, 2, shape).astype(dtype)
