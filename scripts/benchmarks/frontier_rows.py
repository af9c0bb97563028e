"""The rows of the frontier: nets, and the ways in which they are made smaller and faster.

All rows of a net are trained for the same number of epochs after the baseline, with the same
optimizer, schedule, batches and augmentation (`tfopt.training.fine_tune`), whoever's they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tfopt
from benchmarks import frontier_peers as peers
from benchmarks.cells import baselines
from benchmarks.frontier_table import CONVERTER, FLOAT
from benchmarks.ptq_ways import converter

# What is pruned learns at the rate its baseline was trained with.
RATE = 5e-3
# ResNet-8 without its first block came, in 2 epochs, to 77.2 % of the validation data at 2e-3, to
# 79.9 % at 5e-3, 80.1 % at 1e-2 and 79.9 % at 2e-2; the depthwise net with half of its operations
# to 80.3 % at 5e-3 (with a teacher) and 79.4 % at 1e-2 (without).
_RESNET_RATE = 1e-2


@dataclasses.dataclass(frozen=True)
class Net:
    """A net of the table.

    Args:
        name: What it is called.
        architecture: As the recipe calls it.
        data: A TFDS name, or `digits`.
        baseline_epochs: How long the baseline is trained, in cycles of the learning rate.
        epochs: How long each row is trained after that.
        cuts: What share of the multiply-accumulate operations goes with few, some and many
            channels; and whether the dispensable branches go before.
        cut_rate: The learning rate after that.
        dispensable: Residual branches, by the layer that makes their channels. Those at full
            resolution take most of the time, and hold few of the weights.
        zeros: The share with which a file of 4-bit integers deflates to TF-MOT's smallest / 1.7.
        augmentation: What the baseline and the rows see in training, as the recipe calls it.
    """

    name: str
    architecture: str
    data: str
    baseline_epochs: tuple[float, ...]
    epochs: float
    cuts: tuple[tuple[float, bool], ...] = ((0.25, False), (0.4, False), (0.6, False))
    cut_rate: float = RATE
    dispensable: tuple[str, ...] = ()
    zeros: float = 0.6
    augmentation: str = "flip and shift"

    def task(self, data_dir: str | None) -> tfopt.Task:
        """The data."""
        if self.data == "digits":
            return tfopt.Task.digits(batch_size=64)
        return tfopt.Task.from_tfds(self.data, data_dir=data_dir, batch_size=64)

    def baseline(self, task: tfopt.Task, cache: Path, minutes: float | None = None) -> Any:
        """The trained model all rows start from; may be unfinished after some minutes."""
        return baselines().load_or_train(
            task,
            epochs=self.baseline_epochs,
            cache=cache,
            architecture=self.architecture,
            augmentation=self.augmentation,
            minutes=minutes,
        )

    def augmented(self, task: tfopt.Task) -> tfopt.Task:
        """The task as the rows are trained on it."""
        return baselines().augmented(task, self.augmentation)


_RESNET_CUTS = ((0.2, False), (0.0, True), (0.4, True))
_QUICK_CUTS = ((0.25, False), (0.5, False), (0.8, False))
NETS = (
    Net(
        "resnet8",
        "resnet8",
        "cifar10",
        (60.0, 40.0),
        4.0,
        _RESNET_CUTS,
        _RESNET_RATE,
        ("block1_a_conv",),
        0.58,
        "flip and shift each",
    ),
    Net("depthwise", "depthwise", "cifar10", (24.0,), 3.0),
)
QUICK_NETS = (Net("mnist", "cnn", "mnist", (1.0,), 0.5, _QUICK_CUTS),)
SMOKE_NETS = (Net("digits", "cnn", "digits", (1.0,), 0.2),)


@dataclasses.dataclass(frozen=True)
class Step:
    """A training of a row, or its conversion. Rows that begin alike share their trainings.

    Args:
        settings: All that the result depends on, beside the model it is given.
        epochs: How long it trains.
        apply: Makes a model of a model, or a file; the task's teacher is the baseline.
    """

    settings: str
    epochs: float
    apply: Callable[[Any, tfopt.Task], Any]


_CONVERSION = Step(CONVERTER, 0, converter("int8"))


@dataclasses.dataclass(frozen=True)
class Row:
    """One way.

    Args:
        name: What it is called in the table.
        steps: The trainings.
        export: The conversion, with the training before it where its model cannot be stored.
        owner: Whose it is: TF-MOT's, tfopt's, or nobody's (what all are compared with).
    """

    name: str
    steps: tuple[Step, ...]
    export: Step
    owner: str

    @property
    def epochs(self) -> float:
        """How long it trains, all steps together."""
        return sum(step.epochs for step in (*self.steps, self.export))

    def key(self, net: Net, steps: int | None = None) -> str:
        """What tells the model after so many steps from any other; without a number, the file."""
        parts = (*self.steps, self.export) if steps is None else self.steps[:steps]
        start = [net.name, net.baseline_epochs, net.augmentation]
        told = [*start, *(part.settings for part in parts)]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def rows(net: Net) -> tuple[Row, ...]:
    """All rows of a net, in the table's order.

    Example:
        >>> {row.epochs for row in rows(NETS[0])}
        {0, 4.0}
    """
    return (*_references(), *_tfmot(net), *_tfopt(net))


def smoke_rows(net: Net) -> tuple[Row, ...]:
    """A few rows of each kind."""
    some = (FLOAT, CONVERTER, "prune 50 %", "channels off, 8 bits")
    return tuple(row for row in rows(net) if row.name.split(": ")[-1] in some)


def _references() -> list[Row]:
    """The baseline, and what everyone has without training."""
    return [
        Row(FLOAT, (), _export(tfopt.Target.float32()), ""),
        Row(CONVERTER, (), _CONVERSION, ""),
    ]


def _tfmot(net: Net) -> list[Row]:
    """TF-MOT alone, each of its techniques and its longest chain, through its own API."""
    whole, third = net.epochs, net.epochs / 3
    chains: dict[str, tuple[list[Step], Step]] = {
        "prune 50 %": ([_peer(peers.prune, whole, RATE, sparsity=0.5)], _CONVERSION),
        "prune 80 %": ([_peer(peers.prune, whole, RATE, sparsity=0.8)], _CONVERSION),
        "cluster 16": ([_peer(peers.cluster, whole, 1e-3)], _CONVERSION),
        "QAT": ([], _converted(_peer(peers.quantize, whole, 1e-3))),
    }
    for sparsity in (0.5, 0.8):
        begun = [
            _peer(peers.prune, third, RATE, sparsity=sparsity),
            _peer(peers.cluster, third, 1e-3),
        ]
        last = _converted(_peer(peers.quantize, whole - 2 * third, 1e-3))
        chains[f"PCQAT {percent(sparsity)}"] = (begun, last)
    return [
        Row(f"TF-MOT: {name}", tuple(steps), export, "TF-MOT")
        for name, (steps, export) in chains.items()
    ]


def _tfopt(net: Net) -> list[Row]:
    """Chains of tfopt's techniques. Those that begin alike share their first trainings."""
    whole = net.epochs
    eight, four = _export(tfopt.Target.int8()), _export(tfopt.Target.int4_weights())
    as_it_is = _export(tfopt.Target.int8(refine=False))
    sparse = _export(tfopt.Target.int8(sparse_encoding=True))
    short = _export(tfopt.Target.int8(refine=False, compact=True))
    few, some, many = net.cuts
    half, most = _pruned(0.5, whole / 2), _pruned(0.8, 0.6 * whole)
    # at the speed of 8 bits; what is stored are 15 different integers, which deflate well
    grid = _step(tfopt.RoundWeights(bits=4))
    mixed = [*_cut(net, few, 0.3 * whole), _pruned(0.7, 0.3 * whole), *_shared(0.4 * whole)]
    begun = _cut(net, some, 0.3 * whole)
    chains: dict[str, tuple[list[Step], Step]] = {
        "conversion, nothing refined": ([], as_it_is),
        "conversion alone": ([], eight),
        "QAT": ([_quantized(whole)], eight),
        "prune 50 %": ([_pruned(0.5, whole)], eight),
        "prune 50 %, rounded to 4 bits": ([_pruned(0.5, whole), grid], as_it_is),
        "prune 50 %, rounded to 4 bits, compact": ([_pruned(0.5, whole), grid], short),
        f"prune {percent(net.zeros)}, rounded to 4 bits, compact": (
            [_pruned(net.zeros, whole), grid],
            short,
        ),
        "prune 65 %, rounded to 4 bits, compact": ([_pruned(0.65, whole), grid], short),
        "prune 50 %, cluster 16, QAT": ([half, *_shared(whole / 2)], eight),
        "prune 80 %, QAT": ([most, _quantized(0.4 * whole)], eight),
        "prune 80 %, QAT, stored sparse": ([most, _quantized(0.4 * whole)], sparse),
        "prune 80 %, cluster 16, QAT": ([most, *_shared(0.4 * whole)], eight),
        "prune 80 %, cluster 16, QAT, compact": ([most, *_shared(0.4 * whole)], short),
        "low rank": ([_low_rank(whole)], eight),
        "few channels off": (_cut(net, few, whole), eight),
        "few channels off, rounded to 4 bits, compact": ([*_cut(net, few, whole), grid], short),
        "few channels off, prune 50 %, rounded to 4 bits, compact": (
            [*_cut(net, few, whole / 2), half, grid],
            short,
        ),
        "channels off, 8 bits": (_cut(net, some, whole), eight),
        "channels off, 4 bits": (_cut(net, some, whole), four),
        "many channels off, 8 bits": (_cut(net, many, whole), eight),
        "many channels off, 4 bits": (_cut(net, many, whole), four),
        "few channels off, prune 70 %, cluster 16, QAT": (mixed, eight),
        "channels off, prune 50 %, cluster 16, QAT": (
            [*begun, _pruned(0.5, 0.3 * whole), *_shared(0.4 * whole)],
            eight,
        ),
        "channels off, prune 80 %, QAT, stored sparse": (
            [*begun, _pruned(0.8, 0.4 * whole), _quantized(0.3 * whole)],
            sparse,
        ),
    }
    return [
        Row(f"tfopt: {name}", tuple(steps), export, "tfopt")
        for name, (steps, export) in chains.items()
    ]


def percent(share: float) -> str:
    """A share as the table says it.

    Example:
        >>> percent(0.58)
        '58 %'
    """
    return f"{100 * share:.0f} %"


def _cut(net: Net, cut: tuple[float, bool], epochs: float) -> list[Step]:
    """Residual branches that can go, and channels."""
    macs, branches = cut
    steps = []
    if branches:
        first = 0.2 * epochs if macs else epochs
        steps.append(_channels(net, first, channels=0.99, only=net.dispensable))
        epochs -= first
    return [*steps, _channels(net, epochs, macs=macs)] if macs else steps


def _channels(net: Net, epochs: float, **aim: Any) -> Step:
    return _step(
        tfopt.ChannelPruning(epochs=epochs, learning_rate=net.cut_rate, teacher="baseline", **aim)
    )


def _pruned(sparsity: float, epochs: float) -> Step:
    """Zeros where they cost least."""
    return _step(
        tfopt.MagnitudePruning(
            sparsity=sparsity,
            allocation="sensitivity" if sparsity > 0.5 else "global",
            epochs=epochs,
            learning_rate=RATE,
            teacher="baseline",
        )
    )


def _shared(epochs: float) -> list[Step]:
    """Shared weights, and training that keeps them shared in the file."""
    clusters = tfopt.WeightClustering(epochs=0.4 * epochs, learning_rate=1e-3, teacher="baseline")
    return [_step(clusters), _quantized(0.6 * epochs)]


def _quantized(epochs: float) -> Step:
    return _step(tfopt.QuantizationAware(epochs=epochs, learning_rate=1e-3, teacher="baseline"))


def _low_rank(epochs: float) -> Step:
    return _step(tfopt.LowRank(macs=0.4, epochs=epochs, learning_rate=RATE, teacher="baseline"))


def _step(technique: Any) -> Step:
    """One of tfopt's techniques."""
    epochs = getattr(technique, "epochs", 0)
    return Step(f"{technique.name} {technique.settings}", epochs, technique.apply)


def _peer(
    technique: Callable[..., Any], epochs: float, learning_rate: float, **settings: float
) -> Step:
    """One of TF-MOT's."""

    def apply(model: Any, task: tfopt.Task) -> Any:
        return technique(model, task, epochs=epochs, learning_rate=learning_rate, **settings)

    name = f"TF-MOT {technique.__name__} {epochs} {learning_rate} {settings}"
    return Step(name, epochs, apply)


def _converted(step: Step) -> Step:
    """A training and the conversion behind it, without the model between."""

    def apply(model: Any, task: tfopt.Task) -> Any:
        return _CONVERSION.apply(step.apply(model, task), task)

    return Step(f"{step.settings}, {_CONVERSION.settings}", step.epochs, apply)


def _export(target: tfopt.Target) -> Step:
    """The conversion of tfopt, with what it tries by itself after training."""

    def apply(model: Any, task: tfopt.Task) -> bytes:
        return tfopt.convert(model, task=task, target=target)

    given = [(field, getattr(target, field.name)) for field in dataclasses.fields(target)]
    return Step(str([(f.name, value) for f, value in given if value != f.default]), 0, apply)
