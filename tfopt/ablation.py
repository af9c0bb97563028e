"""Each technique alone, then stacked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfopt.chain import Chain
from tfopt.report import Report
from tfopt.target import Target
from tfopt.technique import Technique

if TYPE_CHECKING:
    from tfopt.task import Task


def ablate(
    model: str | os.PathLike[str] | Any,
    techniques: Sequence[Technique],
    *,
    task: Task,
    target: Target,
    cache: str | os.PathLike[str] | None = None,
) -> Report:
    """Measures each technique alone, then stacked in order: what each one brings.

    All start from one baseline with the same data and seed, and every row is the file for the
    target, converted as it is. Each technique trains for as long stacked as alone: a stack of three
    has three times the training of one.

    Args:
        model: A path, a Keras 3 model or a tf_keras model. It is left as it was.
        techniques: The techniques, in an order that works stacked.
        task: Data, loss, metric and seed.
        target: The numbers the device computes with, and the budgets of the last row.
        cache: A directory that keeps what each technique has made, as for `optimize`.

    Returns:
        The report: the float32 baseline, the conversion alone, a row for each technique alone, and
        one for each stack of two and more. The step before a technique alone is the conversion,
        and that of a stack is the stack without its last technique.

    Raises:
        TfoptError: As `optimize` does.

    Example:
        >>> import tfopt
        >>> from tfopt.testing import dense_net
        >>> steps = [tfopt.MagnitudePruning(epochs=0.2), tfopt.WeightClustering(epochs=0.2)]
        >>> target = tfopt.Target.int8()
        >>> report = ablate(dense_net(), steps, task=tfopt.Task.digits(), target=target)
        >>> [step.name for step in report.steps[2:]]
        ['MagnitudePruning alone', 'WeightClustering alone', 'MagnitudePruning + WeightClustering']
    """
    chain = Chain(model, techniques, task=task, target=target, cache=cache, alone=True)
    conversion = len(chain.rows.files) - 1
    alone = []
    for technique in techniques:
        alone.append(made := chain.apply(technique, chain.baseline))
        chain.measure(f"{technique.name} alone", made, step_before=conversion)
    current, before = alone[0].model if alone else chain.baseline, conversion + 1
    for count, one in enumerate(alone[1:], start=2):
        stacked = chain.apply(one.technique, current)  # as many steps as alone
        current = stacked.model
        name = " + ".join(step.name for step in techniques[:count])
        before = chain.measure(name, stacked, step_before=before)
    chain.encode()
    return chain.rows.report(target)
