"""How many steps of training fit into a time, found out by trying some."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from tfopt.errors import SettingError
from tfopt.keras_gate import tf_keras
from tfopt.training import strategies, xla
from tfopt.training.callbacks import EVALUATIONS, Clock, Validation
from tfopt.training.fitting import compile_seeded, fit_steps, trained_in

if TYPE_CHECKING:
    from tfopt.task import Task

MANY_STEPS = 10_000
"""What a training is supposed to have as long as nobody knows how many steps it will have."""


def steps_within(
    model: tf_keras.Model,
    task: Task,
    *,
    seconds: float,
    spent: float = 0,
    trainings: int = 1,
    early_stopping: int | None = None,
) -> int:
    """Returns how many steps of training fit into a time that begins now, by trying some of them.

    Args:
        model: Wrapped for training as the real one will be; it is trained a little.
        task: The task to train on.
        seconds: What the trial and the trainings may take, each with building its graph.
        spent: How long the model took to make; that of each training will take as long.
        trainings: How many trainings share the steps.
        early_stopping: Whether validation data is evaluated on the way, as in `fine_tune`.

    Raises:
        SettingError: There is time for nothing but building the graph, or there are several
            workers, which would each find another number.
    """
    strategy = strategies.strategy_of(task)
    strategies.check_workers(task, seconds=seconds)
    start = time.monotonic()
    with trained_in(strategy, model) as own:
        each, graph = _timed(own, task, seconds, MANY_STEPS)
        evaluations = 0.0 if early_stopping is None else _evaluations_take(own, task)

        def left() -> float:
            """The time for steps alone."""
            gone = spent + time.monotonic() - start
            return seconds - gone - trainings * (spent + graph + evaluations)

        steps = int(left() / each)
        if own.jit_compile and not xla.pays(own, steps // trainings):
            # so few steps are trained without XLA, and so they are timed
            each, graph = _timed(own, task, seconds, xla.STEPS - 1)
            steps = min(int(left() / each), trainings * (xla.STEPS - 1))
        taken = seconds - left()
    if steps < trainings:
        raise SettingError(
            received=f"seconds={seconds:g}, of which building and timing takes {taken:.1f}",
            expected=f"time for at least {trainings} step(s) of {each:.2g} s",
            fix=f"use seconds={2 * math.ceil(taken + trainings * each)} or more, or steps",
        )
    return steps


def _timed(model: tf_keras.Model, task: Task, seconds: float, steps: int) -> tuple[float, float]:
    """How long a step takes, and the graph, in the first steps of a training of so many."""
    clock = Clock(seconds / 10)
    start = time.monotonic()
    compile_seeded(model, task, steps, 1e-6, one_by_one=False)
    fit_steps(model, task, steps, [clock])
    each = clock.seconds_per_step()
    return each, time.monotonic() - start - each * clock.steps


def _evaluations_take(model: tf_keras.Model, task: Task) -> float:
    """How long the evaluations of a training take, the first with its graph."""
    ends = [time.monotonic()]
    validation = Validation(model, task)
    for _ in range(2):
        validation.measure()
        ends.append(time.monotonic())
    return ends[1] - ends[0] + (EVALUATIONS - 1) * (ends[2] - ends[1])
