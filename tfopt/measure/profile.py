"""Where the time of a `.tflite` goes: each of its ops cut out and timed alone."""

from __future__ import annotations

import os

import numpy as np

from tfopt.errors import InterpreterError
from tfopt.measure.cost import StopWatch, random_sample, take_turns
from tfopt.report import OpTime, Profile
from tfopt.settings import check_at_least, check_whole
from tfopt.tflite.content import read_tflite
from tfopt.tflite.cutting import Cutter, without_ops
from tfopt.tflite.inspect import inspect
from tfopt.tflite.inspection import Op
from tfopt.tflite.interpreter import Kernels, TFLiteModel

_CONSTANT = "of constants: computed once, and timed with the op that reads them"
_WARMUP = 10
# What else the machine does hits a long run more often than a short one, and would pass for time
# between the ops: what counts is how fast each is when nothing disturbs.
_UNDISTURBED = 10


def profile(
    tflite: bytes | str | os.PathLike[str],
    *,
    runs: int = 100,
    seconds: float = 10.0,
    threads: int = 1,
    kernels: Kernels = "default",
    seed: int = 0,
) -> Profile:
    """Times each op of a `.tflite` alone, on what it reads in a run of the whole file.

    No profiler of the interpreter can be reached from Python, so that each op is made a file of its
    own. Times are the 10th percentile, when nothing disturbs, less what a run of nothing takes.
    Alone an op finds its weights in the cache and hands its outputs over to nobody: the sum is not
    the time of the whole file, and the profile says how far it is off. Shares are of the sum.

    Args:
        tflite: The file's content or its path.
        runs: The most runs of each op to time.
        seconds: The time for all ops together, about: each is run 20 times at least.
        threads: Threads of the interpreter.
        kernels: Which ones compute, as for `TFLiteModel`.
        seed: Seeds the random input of the file.

    Returns:
        The time, share and kernel of each op, and the time of the whole.

    Raises:
        InterpreterError: The file cannot be run.
        SettingError: A number is out of its range.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import small_cnn
        >>> tflite = tfopt.convert(small_cnn(), target=tfopt.Target.float32())
        >>> found = profile(tflite, runs=20)
        >>> found.ops[0].op, round(sum(op.share for op in found.ops), 6)
        ('CONV_2D', 1.0)
    """
    check_whole(1, runs=runs, threads=threads)
    check_at_least(0, seconds=seconds)
    content = read_tflite(tflite)
    ops = [op for op in inspect(content).ops if not op.subgraph]
    whole = TFLiteModel(content, threads=threads, kernels=kernels)
    whole.set_inputs(random_sample(whole, np.random.default_rng(seed)))
    nothing = TFLiteModel(without_ops(content), threads=threads, kernels=kernels)
    alone = _Alone(content, seed=seed, threads=threads, kernels=kernels)
    found = [alone.model(op) for op in ops]
    models = [model for model in found if isinstance(model, TFLiteModel)]
    watches = [StopWatch(model) for model in (nothing, whole, *models)]
    turns = take_turns(watches, runs=runs, warmup=_WARMUP, seconds=seconds / len(watches))
    overhead, total, *timed = (
        float(np.percentile(np.concatenate(turn), _UNDISTURBED)) / 1e3 for turn in turns
    )
    times = iter(max(0.0, time - overhead) for time in timed)
    given = [next(times) if isinstance(model, TFLiteModel) else 0.0 for model in found]
    rows = zip(ops, found, given, strict=True)
    return Profile(
        ops=tuple(_op_time(*row, sum(given), kernels) for row in rows),
        whole_us=max(0.0, total - overhead),
        overhead_us=overhead,
    )


class _Alone:
    """Makes models of single ops, with what they read put in.

    Args:
        content: The file.
        seed: Seeds its random input.
        threads: Threads of each model.
        kernels: What computes in it.
    """

    def __init__(self, content: bytes, *, seed: int, threads: int, kernels: Kernels) -> None:
        self._cutter = Cutter(content)
        self._threads, self._kernels = threads, kernels
        self._inside = TFLiteModel(content, keep_tensors=True)
        self._inside.set_inputs(random_sample(self._inside, np.random.default_rng(seed)))
        self._inside.invoke()

    def model(self, op: Op) -> TFLiteModel | str:
        """The op ready to run, or why it cannot be timed."""
        if self._cutter.is_constant(op.index):
            return _CONSTANT
        try:
            values = {index: self._inside.held(index) for index in self._cutter.reads(op.index)}
            shapes = {index: value.shape for index, value in values.items()}
            content, places = self._cutter.cut(op.index, shapes)
            model = TFLiteModel(content, threads=self._threads, kernels=self._kernels)
            model.put(dict(zip(places, values.values(), strict=True)))
            model.invoke()
        except InterpreterError as error:
            return f"does not run alone: {error.received}"
        return model


def _op_time(
    op: Op, model: TFLiteModel | str, microseconds: float, total: float, kernels: Kernels
) -> OpTime:
    """A row of the profile."""
    kernel = reason = ""
    if isinstance(model, str):
        reason = model
    elif kernels != "default":
        kernel = kernels
    else:
        taken = model.delegated & {spec.index for spec in model.outputs}
        kernel = "XNNPACK" if taken else "builtin"
    return OpTime(
        index=op.index,
        op=op.name,
        layer=op.layer or "",
        dtypes=op.dtypes,
        microseconds=microseconds,
        share=microseconds / total if total else 0.0,
        kernel=kernel,
        macs=op.macs,
        reason=reason,
    )
