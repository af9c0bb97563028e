"""Keeping layers in finer numbers until a budget of accuracy is met, those that pay most first."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from tfopt import report
from tfopt.data import ArraySplit
from tfopt.errors import TfoptError
from tfopt.keras_gate import tf_keras
from tfopt.post_training.trials import Bench, Trial
from tfopt.target import Target
from tfopt.technique import Technique
from tfopt.techniques.round_weights import RoundWeights
from tfopt.tflite import naming
from tfopt.tflite.inspect import inspect
from tfopt.tflite.origins import layer_of

if TYPE_CHECKING:
    from tfopt.task import Task

Sensitivity = tuple[report.LayerSensitivity, ...]

_SAMPLES = 512
# The field of a target that names layers with finer numbers, and what those are called.
_FINER = {"int8": ("keep_int16", "int16"), "int4_weights": ("keep_int8", "int8")}
_FLOAT = ("keep_float", "float")


def can_mix(target: Target) -> bool:
    """Returns whether layers of a file can have finer numbers than the others: in integer files."""
    return target.integer_only


def sensitivity(bench: Bench, trial: Trial) -> Sensitivity:
    """Measures what a file gains if one layer after another is kept in finer numbers.

    The files are made and run, not simulated, each on the same 512 validation samples. Where
    rounding is learned, the quicker method stands for it: the order of the layers is what counts.

    Args:
        bench: Makes and measures files.
        trial: The file as it is, with all layers in the same numbers.

    Returns:
        The layers with the largest gain for their cost first; those of which no file with finer
        numbers can be made are left out.
    """
    field, _ = _finer(trial.target)
    small = Bench(bench.model, _smaller(bench.task))
    quick = dataclasses.replace(trial, techniques=tuple(map(_quick, trial.techniques)))
    whole = small.trial(quick.techniques, trial.target).error
    rows = []
    for layer, group in layer_groups(trial).items():
        try:
            error = _kept(small, quick, field, group.layers).error
        except TfoptError:
            continue
        rows.append(report.LayerSensitivity(layer, error, whole - error, group.cost))
    return tuple(sorted(rows, key=lambda row: row.gain / max(row.cost, 1e-6), reverse=True))


def meet(bench: Bench, trial: Trial, limit: float) -> tuple[Trial, list[Trial], Sensitivity]:
    """Keeps as few layers as possible in finer numbers so that a budget of accuracy is met.

    Args:
        bench: Makes and measures files.
        trial: The best file with all layers in the same numbers.
        limit: The most that the metric may drop.

    Returns:
        The cheapest file that keeps the budget, or that with the smallest drop if none does; the
        files tried; and the sensitivity of the layers, with those that were kept.
    """
    field, numbers = _finer(trial.target)
    rows = sensitivity(bench, trial)
    groups = layer_groups(trial)
    tried: dict[int, Trial] = {}

    def keeps(count: int) -> bool:
        layers = tuple(itertools.chain(*(groups[row.layer].layers for row in rows[:count])))
        tried[count] = _kept(bench, trial, field, layers)
        return bench.drop(tried[count]).value <= limit

    low, high = 0, len(rows)  # `low` layers are too few; `high` are enough, if any number is
    enough = high > 0 and keeps(high)
    while enough and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    candidates = [trial, *tried.values()]
    best = tried[high] if enough else min(candidates, key=lambda one: bench.drop(one).value)
    kept = set(getattr(best.target, field))
    marked = (dataclasses.replace(row, kept=numbers if row.layer in kept else "") for row in rows)
    return best, list(tried.values()), tuple(marked)


@dataclasses.dataclass(frozen=True)
class Group:
    """A layer that computes most, with what follows it up to the next one.

    Args:
        layers: Their names in the model; kept in finer numbers together, since a sum or a pooling
            in coarse ones would undo what was gained in front of it.
        cost: Their share of what a file costs.
    """

    layers: tuple[str, ...]
    cost: float


def layer_groups(trial: Trial) -> dict[str, Group]:
    """Returns the layers of a file that have weights, each with the layers that follow it.

    Args:
        trial: A file and its model.

    Returns:
        Groups by the name of the layer in the model. Costs are shares of the weights for 4-bit
        weights, where finer numbers cost bytes, else of the MACs, where they cost time.
    """
    names = _names(trial.model)
    four_bit = trial.target.numerics == "int4_weights"
    leaders: dict[int, str] = {}  # by tensor: the layer whose group computes it
    members: dict[str, dict[str, None]] = {}
    costs: dict[str, float] = {}
    for op in inspect(trial.tflite).ops:
        layer = layer_of(op, names)
        weights = max((int(np.prod(t.shape)) for t in op.inputs if t.constant), default=0)
        if layer is not None and op.macs and weights:
            leader = names[layer]
            costs[leader] = costs.get(leader, 0) + (weights if four_bit else op.macs)
            members.setdefault(leader, {})[leader] = None
        else:
            before = {leaders[tensor.index] for tensor in op.inputs if tensor.index in leaders}
            if not before:
                continue
            leader = [name for name in members if name in before][-1]  # the last to be computed
            if layer is not None:
                members[leader][names[layer]] = None
        leaders |= dict.fromkeys((tensor.index for tensor in op.outputs), leader)
    total = sum(costs.values())
    return {name: Group(tuple(members[name]), cost / total) for name, cost in costs.items()}


def _names(model: tf_keras.Model) -> dict[str, str]:
    """What the model calls each layer, by what the file calls it."""
    layers = list(dict.fromkeys(model._flatten_layers()))
    names = naming.file_names(layers)
    return {names[id(layer)]: layer.name for layer in layers if layer is not model}


def _finer(target: Target) -> tuple[str, str]:
    """The field that names layers with finer numbers, and those numbers."""
    return _FLOAT if target.allow_float_ops else _FINER.get(target.numerics, _FLOAT)


def _kept(bench: Bench, trial: Trial, field: str, layers: tuple[str, ...]) -> Trial:
    """A trial as another, with layers kept in finer numbers besides those that it keeps already."""
    names = tuple(dict.fromkeys((*getattr(trial.target, field), *layers)))
    changes: dict[str, Any] = {field: names}
    target = dataclasses.replace(trial.target, **changes)
    techniques = (_fitting(technique, target) for technique in trial.techniques)
    return bench.trial(tuple(techniques), target)


def _fitting(technique: Technique, target: Target) -> Technique:
    """A technique for a target: what is rounded to 4 bits gains nothing from 8 in the file."""
    if not isinstance(technique, RoundWeights) or technique.bits != 4:
        return technique
    return dataclasses.replace(technique, keep_int8=target.keep_int8)


def _quick(technique: Technique) -> Technique:
    """A technique, its rounding by the method that takes seconds."""
    if not isinstance(technique, RoundWeights):
        return technique
    return dataclasses.replace(technique, method="gptq", scope="layer")


def _smaller(task: Task) -> Task:
    """The task with as many validation samples as tell the error of the outputs."""
    x, y = next(iter(task.validation.batches(_SAMPLES)))
    return dataclasses.replace(task, validation=ArraySplit(x, y), test=None)
