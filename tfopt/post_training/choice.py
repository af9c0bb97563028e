"""Which ways of making a file there are, and which is the best of those tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfopt import facts, report
from tfopt.errors import ConversionError, TfoptError
from tfopt.graph.cost import model_cost
from tfopt.keras_gate import tf_keras
from tfopt.measure.paired import difference
from tfopt.measure.quality import Quality
from tfopt.measurement import Measured
from tfopt.post_training import precision
from tfopt.post_training.trials import AS_IT_IS, Bench, Trial
from tfopt.target import Target
from tfopt.technique import Technique
from tfopt.techniques.correct_bias import CorrectBias
from tfopt.techniques.equalize_channels import EqualizeChannels
from tfopt.techniques.round_weights import RoundWeights

if TYPE_CHECKING:
    from tfopt.task import Task

Way = tuple[Technique, ...]

_GOOD_ENOUGH = 0.002
"""Below this error of the outputs no accuracy is left to win by learning how to round."""
_QUICK_MACS = 20_000_000
"""Above, learning how to round takes longer than a user expects of a conversion."""


@dataclasses.dataclass(frozen=True)
class Refined:
    """The best file found for a trained model.

    Args:
        best: The file, its target with the layers that were kept in finer numbers, and the model it
            was made from.
        drop: How much of the float model's metric it loses on the validation data.
        is_changed: Whether anything was done beyond converting the model as the target says.
        trials: All that was tried.
        sensitivity: What more bits in each layer would bring; empty if that was not needed.
    """

    best: Trial
    drop: report.Difference
    is_changed: bool
    trials: tuple[report.Trial, ...]
    sensitivity: tuple[report.LayerSensitivity, ...] = ()

    @property
    def name(self) -> str:
        """What was done, in words."""
        return self.best.name

    @property
    def files(self) -> int:
        """How many files were made and measured."""
        measured = sum(trial.validation is not None for trial in self.trials)
        return measured + sum(not row.reason for row in self.sensitivity)

    @property
    def keeps_budget(self) -> bool:
        """Whether the target's budget of accuracy is kept on the validation data."""
        limit = self.best.target.max_accuracy_drop
        return limit is None or self.drop.value <= limit


def can_refine(model: tf_keras.Model, target: Target) -> bool:
    """Returns whether there is more than one way of making a file.

    A fake-quantized model has been trained for one.
    """
    return target.refine and bool(_ways(target)) and not facts.is_fake_quantized(model)


def refine(
    model: tf_keras.Model,
    *,
    task: Task,
    target: Target,
    known: Sequence[Measured] = (),
    baseline: Quality | None = None,
    change_weights: bool = True,
) -> Refined:
    """Tries ways of making a file of a trained model, and takes the best on the validation data.

    The way that changes nothing is always tried, and no file with a lower metric is taken: the
    result is never worse than the plain conversion, as far as the validation data tells. Among
    those whose metric differs by chance alone (and that keep the target's `max_accuracy_drop`, if
    any does) that with the smallest error of the outputs is taken. Learning how to round, which
    takes longest, is tried where error is left. If the best integer file does not keep the
    `max_accuracy_drop`, layers are kept in finer numbers.

    Args:
        model: A tf_keras model; it is left as it was.
        task: The data; the test part is not used.
        target: What the file is made for.
        known: What is measured already, with the same data.
        baseline: What the drop of the metric is counted from; None for the model itself.
        change_weights: Whether to try techniques; if not, only finer numbers are.

    Raises:
        TfoptError: The model cannot be converted in any way; it is the reason of the plain one.
    """
    bench = Bench(model, task, known=known, baseline=baseline)
    tried: list[Trial] = []
    refused: list[report.Trial] = []
    errors: list[TfoptError] = []
    for way in ((), *(_ways(target) if change_weights and can_refine(model, target) else ())):
        name = " + ".join(technique.name for technique in way) or AS_IT_IS
        reason = _reason_not_to_learn(way, _best(tried, bench), bench) if tried else None
        if reason is not None:
            refused.append(_not_tried(name, f"not tried: {reason}"))
            continue
        try:
            tried.append(bench.trial(way, target))
        except TfoptError as error:
            if not way and not isinstance(error, ConversionError):
                raise  # bad data, say, which no technique mends
            errors.append(error)
            refused.append(_not_tried(name, f"not possible: {error.received}"))
    if not tried:
        raise errors[0]
    best = _best(tried, bench)
    sensitivity: precision.Sensitivity = ()
    limit = target.max_accuracy_drop
    if limit is not None and not bench.keeps_budget(best) and precision.can_mix(target):
        mixed = precision.meet(bench, best, limit)
        best, sensitivity = mixed.best, mixed.sensitivity
        tried += mixed.tried
        refused += mixed.refused
    return Refined(
        best=best,
        drop=bench.drop(best),
        is_changed=bool(best.techniques) or best.target != target,
        trials=(*(trial.record(chosen=trial is best) for trial in tried), *refused),
        sensitivity=sensitivity,
    )


def _ways(target: Target) -> tuple[Way, ...]:
    """What is worth trying for a target beside changing nothing, the quickest first."""
    equalize = EqualizeChannels()
    if target.numerics == "int8":
        return (
            (equalize,),
            (equalize, CorrectBias()),
            (RoundWeights(),),
            (equalize, RoundWeights()),
        )
    if target.numerics == "int4_weights":
        learn = RoundWeights(bits=4, keep_int8=target.keep_int8)
        quick = dataclasses.replace(learn, method="gptq")
        return ((quick,), (learn,), (equalize, learn))
    if target.numerics in ("int16x8", "dynamic_range"):
        return ((equalize,),)
    return ()


def _reason_not_to_learn(way: Way, best: Trial, bench: Bench) -> str | None:
    """Why to leave out a way that learns how to round, which takes long; None to try it."""
    learning = [s for s in way if isinstance(s, RoundWeights) and s.method == "adaround"]
    if not learning:
        return None
    kept = bench.drop(best).within_noise and bench.keeps_budget(best)
    if learning[0].bits == 8 and best.error < _GOOD_ENOUGH and kept:
        return "too little error is left"
    if model_cost(bench.model).macs > _QUICK_MACS:
        return "it takes minutes on so large a model; apply tfopt.RoundWeights yourself"
    return None


def _best(tried: Sequence[Trial], bench: Bench) -> Trial:
    """The trial to take; the plain conversion, where it is the first, bounds what is taken."""
    sign = 1 if tried[0].quality.higher_is_better else -1
    able = list(tried)
    if not tried[0].techniques:
        least = sign * tried[0].quality.value
        able = [tried[0], *(t for t in tried[1:] if sign * t.quality.value >= least)]
    top = max(able, key=lambda trial: sign * trial.quality.value)
    near = [t for t in able if t is top or difference(t.quality, top.quality).within_noise]
    # A file with a smaller error may by chance be the one that breaks the budget.
    within = [trial for trial in near if bench.keeps_budget(trial)]
    return min(within or near, key=lambda trial: trial.error)


def _not_tried(name: str, reason: str) -> report.Trial:
    return report.Trial(name, None, None, 0, 0.0, reason=reason)
