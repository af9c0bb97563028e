"""What was measured of the layers' sensitivity: plain records, and the table they are drawn as."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfopt.tables import text_table

_SHADES = " ▁▂▃▄▅▆▇█"


@dataclasses.dataclass(frozen=True)
class Point:
    """A layer changed at one strength, all others left as they are, nothing trained.

    Args:
        strength: How much of the layer goes: 0 is nothing, 1 all of it.
        weights: How many weights fewer there are, or how many more of them are zero, or how many
            8-bit ones the bits that go would hold.
        macs: How many multiply-accumulate operations of a sample fewer, those by zero included.
        error: Mean squared difference of the model's outputs from before, as a share of their
            variance: 0 is the same function, 1 as good as a constant.
        metric: The task's metric on the same samples; None where there were no labels.
    """

    strength: float
    weights: int
    macs: int
    error: float
    metric: float | None = None


@dataclasses.dataclass(frozen=True)
class Curve:
    """What changing one layer costs.

    Args:
        name: The layer, its kernel if it has several, or the layers whose channels go together.
        points: From the weakest to the strongest change; those that save nothing are left out.
    """

    name: str
    points: tuple[Point, ...]


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """How much each layer can be changed before a model suffers.

    Args:
        change: What was done to the layers, such as `"MagnitudePruning"`.
        curves: One for each layer, in the model's order.
        samples: How many samples it was measured on.
        metric: The metric's name; None where there were no labels.
        value: The metric before any change.

    Example:
        >>> curve = Curve("conv", (Point(0.5, 100, 400, 0.01, 0.97), Point(0.9, 180, 720, 0.2, 0.8)))
        >>> print(Sensitivity("MagnitudePruning", (curve,), 512, "accuracy", 0.98))
        layer  error     50%     90%  weights
        conv      ▁▄  0.9700  0.8000      200
        accuracy 0.9800 before, on 512 samples; each layer by MagnitudePruning alone, untrained
    """  # noqa: E501 - the doctest's line

    change: str
    curves: tuple[Curve, ...]
    samples: int
    metric: str | None = None
    value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Sensitivity:
        """Reads what `to_dict` wrote.

        Raises:
            TypeError, KeyError, ValueError: It is something else.
        """
        curves = tuple(
            Curve(str(curve["name"]), tuple(_point(point) for point in curve["points"]))
            for curve in record["curves"]
        )
        return cls(**{**record, "curves": curves})

    def __str__(self) -> str:
        strengths = sorted({point.strength for curve in self.curves for point in curve.points})
        header = ["layer", "error", *(f"{strength:.0%}" for strength in strengths), "weights"]
        rows = [
            [curve.name, _drawn(curve, strengths), *_cells(curve, strengths), _whole(curve)]
            for curve in self.curves
        ]
        what = f"{self.metric} {self.value:.4f} before" if self.metric else "errors of the outputs"
        return (
            f"{text_table(header, rows)}\n{what}, on {self.samples:,} samples; each layer by "
            f"{self.change} alone, untrained"
        )


def _point(record: Mapping[str, Any]) -> Point:
    point = Point(**record)
    numbers = (point.strength, point.weights, point.macs, point.error)
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError(f"no numbers: {numbers}")
    return point


def _drawn(curve: Curve, strengths: list[float]) -> str:
    """The errors as bars, of which a full one is an error of 1 and more, on a root scale."""
    errors = {point.strength: point.error for point in curve.points}
    tops = len(_SHADES) - 1
    return "".join(
        _SHADES[min(tops, 1 + int((tops - 1) * min(1.0, errors[strength]) ** 0.5))]
        if strength in errors
        else " "
        for strength in strengths
    )


def _cells(curve: Curve, strengths: list[float]) -> list[str]:
    """The metric at each strength, the error where there is none."""
    points = {point.strength: point for point in curve.points}
    cells = []
    for strength in strengths:
        point = points.get(strength)
        value = None if point is None else point.error if point.metric is None else point.metric
        cells.append("" if value is None else f"{value:.4f}")
    return cells


def _whole(curve: Curve) -> str:
    """About how many weights a layer has, of what its strongest change saves."""
    last = curve.points[-1] if curve.points else None
    return f"{round(last.weights / last.strength):,}" if last else ""
