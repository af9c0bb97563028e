"""What the last file is like on the inside: by group of samples, by layer, by op."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfopt.report.records import Difference, Score
from tfopt.tables import text_table


@dataclasses.dataclass(frozen=True)
class Group:
    """The metric on some of the samples: of one class, or of one group of people or things.

    Args:
        name: The class or the group.
        by: What the samples are told apart by: `"class"`, or the name of the task's groups.
        samples: How many there are.
        baseline: The baseline's metric on them; None if they are too few for a figure.
        optimized: The last file's.
        difference: The last file's minus the baseline's, sample by sample. Its own p-value is the
            group's as if it were the only one.
        p_value: How likely chance alone makes such a difference, corrected for the number of
            groups (Holm).
        reason: Why there are no figures; empty if there are.
    """

    name: str
    by: str
    samples: int
    baseline: Score | None = None
    optimized: Score | None = None
    difference: Difference | None = None
    p_value: float | None = None
    reason: str = ""

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance, among as many groups as there are."""
        return self.p_value is not None and self.p_value < 0.05

    def drop(self, *, higher_is_better: bool) -> float | None:
        """Returns how much worse the last file is on this group: above 0 is worse."""
        if self.difference is None:
            return None
        return -self.difference.value if higher_is_better else self.difference.value


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A sample that the baseline gets right and the last file wrong.

    Args:
        index: Its position in the split.
        label: The right class.
        baseline: The class the baseline took it for, which is right.
        baseline_confidence: The baseline's probability of it, 0 to 1.
        optimized: The class the last file takes it for.
        optimized_confidence: The last file's probability of that.
        png: The image, base64 of a PNG; empty if the sample is none.
        group: The group it belongs to, if the task has groups.
    """

    index: int
    label: str
    baseline: str
    baseline_confidence: float
    optimized: str
    optimized_confidence: float
    png: str = ""
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Mistakes:
    """What only one of two models gets wrong.

    Args:
        lost: How many samples only the last file gets wrong.
        won: How many only the baseline gets wrong.
        samples: How many there are in all.
        shown: Some of the lost ones, those of which the last file is most sure first.
    """

    lost: int
    won: int
    samples: int
    shown: tuple[Mistake, ...] = ()


@dataclasses.dataclass(frozen=True)
class OpTime:
    """What an op of a file costs.

    Args:
        index: Its place in the order of execution.
        op: What it is, such as `"CONV_2D"`.
        layer: The Keras layer it comes from; empty if that is not known.
        dtypes: The types of its first input and output, such as `"int8"`.
        microseconds: Its time when nothing disturbs, without what any run costs.
        share: Its share of the time of all ops, 0 to 1.
        kernel: What computes it: `"XNNPACK"` or `"builtin"`; `""` if it could not be timed.
        macs: Its multiply-accumulate operations.
        reason: Why it could not be timed alone; empty if it was.
    """

    index: int
    op: str
    layer: str
    dtypes: str
    microseconds: float
    share: float
    kernel: str
    macs: int
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Profile:
    """Where a file's time goes: each op cut out and timed alone.

    Args:
        ops: The ops in the order of execution.
        whole_us: The time of the whole file when nothing disturbs, in microseconds.
        overhead_us: What a run of nothing costs, which is taken off each op and off the whole.
    """

    ops: tuple[OpTime, ...]
    whole_us: float
    overhead_us: float

    @property
    def sum_us(self) -> float:
        """The times of the ops together, in microseconds."""
        return sum(op.microseconds for op in self.ops)

    @property
    def coverage(self) -> float:
        """Their sum over the time of the whole: 1 if the ops alone explain all of it."""
        return self.sum_us / self.whole_us if self.whole_us > 0 else 0.0

    @property
    def slowest_first(self) -> tuple[OpTime, ...]:
        """The ops, those that take most first."""
        return tuple(sorted(self.ops, key=lambda op: op.microseconds, reverse=True))

    def to_dict(self) -> dict[str, Any]:
        """Returns the profile as JSON values."""
        return dataclasses.asdict(self) | {"sum_us": self.sum_us, "coverage": self.coverage}

    def __str__(self) -> str:
        header = ["op", "layer", "types", "us", "share", "MACs", "kernel"]
        rows = [
            [
                op.op,
                op.layer or "-",
                op.dtypes,
                "-" if op.reason else f"{op.microseconds:.1f}",
                "-" if op.reason else f"{op.share:.1%}",
                f"{op.macs:,}",
                op.kernel or "-",
            ]
            for op in self.slowest_first
        ]
        untimed: dict[str, list[str]] = {}
        for op in self.ops:
            if op.reason:
                untimed.setdefault(op.reason, []).append(f"{op.op} {op.index}")
        left = "".join(f"{', '.join(ops)}: {reason}.\n" for reason, ops in untimed.items())
        return (
            f"{text_table(header, rows)}\n{left}"
            f"Each op timed alone on one thread: {self.sum_us:,.1f} us together, which is "
            f"{self.coverage:.0%} of the {self.whole_us:,.1f} us that the whole file takes."
        )


@dataclasses.dataclass(frozen=True)
class LayerFigures:
    """What a Keras layer is in the last file.

    Args:
        layer: Its name.
        kind: Its class name.
        bytes: Bytes of its constants.
        parameters: Its weights and biases.
        macs: Its multiply-accumulate operations.
        sparsity: Share of its kernels' weights that are zero, 0 to 1; None if it has none.
        unique_weights: Largest number of distinct values that share a scale; None if it has none.
        weight_bits: Bits of a weight as stored; None if it has none.
        sqnr_db: Signal to quantization noise of its outputs, in decibels; None if it is not known.
        lost_db: How much of that is lost in this layer rather than before it.
        advice: What is likely to help; empty if nothing is wrong.
    """

    layer: str
    kind: str
    bytes: int
    parameters: int
    macs: int
    sparsity: float | None = None
    unique_weights: int | None = None
    weight_bits: int | None = None
    sqnr_db: float | None = None
    lost_db: float | None = None
    advice: str = ""
