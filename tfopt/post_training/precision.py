"""Keeping layers in finer numbers until a budget of accuracy is met, those that pay most first."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from tfopt import report
from tfopt.errors import TfoptError
from tfopt.post_training.trials import Bench, Trial
from tfopt.target import Target
from tfopt.technique import Technique
from tfopt.techniques.round_weights import RoundWeights
from tfopt.tflite import naming
from tfopt.tflite.inspect import inspect
from tfopt.tflite.origins import layer_of

Sensitivity = tuple[report.LayerSensitivity, ...]
Layers = tuple[str, ...]

_SAMPLES = 512
_MOST_GIVEN_UP = 8
# The field of a target that names layers with finer numbers, and what those are called.
_FINER = {"int8": ("keep_int16", "int16"), "int4_weights": ("keep_int8", "int8")}
_FLOAT = ("keep_float", "float")


def can_mix(target: Target) -> bool:
    """Returns whether layers of a file can have finer numbers than the others: in integer files.

    Finer than 16 bits is floating point only, which TensorFlow's converter does not mix with them.
    """
    return target.integer_only and (target.numerics != "int16x8" or target.exporter == "litert")


def sensitivity(bench: Bench, trial: Trial) -> Sensitivity:
    """Measures what a file gains if one layer after another is kept in finer numbers.

    The files are made and run, not simulated, each on the same 512 validation samples. Where
    rounding is learned, the quicker method stands for it: the order of the layers is what counts.

    Args:
        bench: Makes and measures files.
        trial: The file as it is, with all layers in the same numbers.

    Returns:
        The layers with the largest gain for their cost first; last those of which no file with
        finer numbers can be made, with the reason.
    """
    field, _ = _finer(trial.target)
    small = bench.smaller(_SAMPLES)
    quick = dataclasses.replace(trial, techniques=tuple(map(_quick, trial.techniques)))
    whole = small.trial(quick.techniques, trial.target).error
    rows, impossible = [], []
    for layer, group in layer_groups(trial).items():
        row = report.LayerSensitivity(layer, whole, 0.0, group.cost)
        try:
            error = _kept(small, quick, field, group.layers).error
        except TfoptError as refusal:
            impossible.append(dataclasses.replace(row, reason=str(refusal)))
        else:
            rows.append(dataclasses.replace(row, error=error, gain=whole - error))
    rows.sort(key=lambda row: row.gain / max(row.cost, 1e-6), reverse=True)
    return (*rows, *impossible)


@dataclasses.dataclass(frozen=True)
class Mixed:
    """What keeping layers in finer numbers came to.

    Args:
        best: The cheapest file found that keeps the budget, or that with the smallest drop if none
            does.
        tried: All files that were made for it.
        refused: Those that could not be made, each with its reason.
        sensitivity: Of the layers, with those that were kept.
    """

    best: Trial
    tried: tuple[Trial, ...]
    refused: tuple[report.Trial, ...]
    sensitivity: Sensitivity


def meet(bench: Bench, trial: Trial, limit: float) -> Mixed:
    """Keeps layers in finer numbers, as few as it takes, so that a budget of accuracy is met.

    Those that pay most are kept first, and as few of them as do is found by bisection. Then those
    kept are given up again one by one, the dearest first, as long as the budget holds.

    Args:
        bench: Makes and measures files.
        trial: The best file with all layers in the same numbers.
        limit: The most that the metric may drop.
    """
    field, numbers = _finer(trial.target)
    rows, groups = sensitivity(bench, trial), layer_groups(trial)
    able = tuple(row.layer for row in rows if not row.reason)
    tries = _Tries(bench, trial, groups, limit)
    best = None
    low, high = 0, len(able)  # `low` layers are too few; `high` are enough, if any number is
    while high and tries.made(able[:high]) is None:
        high //= 2  # no such file can be made; one of fewer layers, perhaps
    if high and tries.keeps(able[:high]):
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if tries.keeps(able[:middle]) else (middle, high)
        best = tries.made(_thinned(able[:high], groups, tries))
    if best is None:
        candidates = [trial, *tries.trials]
        best = min(candidates, key=lambda one: bench.drop(one).value)
    kept = set(getattr(best.target, field))
    marked = (dataclasses.replace(row, kept=numbers if row.layer in kept else "") for row in rows)
    return Mixed(best, tries.trials, tuple(tries.refused), tuple(marked))


def _thinned(kept: Layers, groups: dict[str, Group], tries: _Tries) -> Layers:
    """The layers without those that can be given up: not the last one, as bisection has shown."""
    for layer in sorted(kept[:-1], key=lambda name: -groups[name].cost)[:_MOST_GIVEN_UP]:
        fewer = tuple(name for name in kept if name != layer)
        kept = fewer if tries.keeps(fewer) else kept
    return kept


class _Tries:
    """Files with some groups of layers in finer numbers, each made once."""

    def __init__(self, bench: Bench, trial: Trial, groups: dict[str, Group], limit: float) -> None:
        self._bench, self._trial, self._groups, self._limit = bench, trial, groups, limit
        self._made: dict[Layers, Trial | None] = {}
        self.refused: list[report.Trial] = []

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The files that could be made."""
        return tuple(trial for trial in self._made.values() if trial is not None)

    def made(self, leaders: Layers) -> Trial | None:
        """The file with some groups in finer numbers, None if it cannot be made."""
        if leaders not in self._made:
            field, numbers = _finer(self._trial.target)
            layers = tuple(itertools.chain(*(self._groups[name].layers for name in leaders)))
            try:
                self._made[leaders] = _kept(self._bench, self._trial, field, layers)
            except TfoptError as error:
                self._made[leaders] = None
                name = f"{len(leaders)} of {len(self._groups)} groups of layers in {numbers}"
                self.refused.append(report.Trial(name, None, None, 0, 0.0, reason=str(error)))
        return self._made[leaders]

    def keeps(self, leaders: Layers) -> bool:
        """Whether that file keeps the budget."""
        made = self.made(leaders)
        return made is not None and self._bench.drop(made).value <= self._limit


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
    layers = naming.layers_by_file_name(trial.model)
    names = {name: naming.seen_through(layer).name for name, layer in layers.items()}
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
