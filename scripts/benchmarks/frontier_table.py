"""What the frontier's cells hold, who is in front, and which goals that misses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from tfopt.tables import markdown_table

FLOAT = "float32"
CONVERTER = "TensorFlow's converter"
MOST_LOST = 0.01
# Two files of the same network differ by as much when timed twice.
SAME_LATENCY = 1.03


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one row made of one net.

    Args:
        name: The row's.
        owner: Whose it is.
        epochs: How long it was trained.
        validation: Accuracy on the validation data.
        accuracy: On all test images; None if no file came out.
        low: Lower end of its 95 % interval.
        high: Upper end of it.
        bytes: Size of the file.
        deflated: The same, compressed.
        macs: Multiply-accumulate operations of an image.
        seconds: How long it took, training and conversion.
        integer_only: Whether it computes in integers only.
        error: Why no file came out.
    """

    name: str
    owner: str
    epochs: float
    validation: float = 0.0
    accuracy: float | None = None
    low: float = 0.0
    high: float = 0.0
    bytes: int = 0
    deflated: int = 0
    macs: int = 0
    seconds: float = 0.0
    integer_only: bool = False
    error: str = ""

    @property
    def score(self) -> float:
        """The accuracy; 0 without a file."""
        return self.accuracy or 0.0


@dataclasses.dataclass(frozen=True)
class Latencies:
    """Milliseconds of one image on one thread, by row: median and 90th percentile.

    Args:
        plain: As the machine is.
        without_tiles: Without its matrix tiles; None if it has none.
    """

    plain: dict[str, list[float]]
    without_tiles: dict[str, list[float]] | None = None

    @property
    def all(self) -> dict[str, dict[str, list[float]]]:
        """By what they are called."""
        named = {"latency": self.plain}
        return named | ({"latency without tiles": self.without_tiles} if self.without_tiles else {})


Measure = Callable[[Cell], float]
"""What is to be small: bytes, or milliseconds."""


def median(timed: dict[str, list[float]]) -> Measure:
    """Returns what tells the median milliseconds of a cell."""
    return lambda cell: timed[cell.name][0]


def front(cells: Sequence[Cell], measure: Measure) -> list[Cell]:
    """Returns the cells that none beats in both, the smallest first.

    Example:
        >>> cells = [Cell("a", "", 1, accuracy=.9, deflated=5), Cell("b", "", 1, accuracy=.8,
        ...          deflated=6), Cell("c", "", 1, accuracy=.7, deflated=4)]
        >>> [cell.name for cell in front(cells, lambda cell: cell.deflated)]
        ['c', 'a']
    """
    found: list[Cell] = []
    there = [cell for cell in cells if cell.accuracy is not None]
    for cell in sorted(there, key=lambda cell: (measure(cell), -cell.score)):
        if not found or cell.score > found[-1].score:
            found.append(cell)
    return found


def table(cells: Sequence[Cell], latencies: Latencies | None) -> str:
    """Markdown of a net's cells."""
    timed = latencies.all if latencies else {}
    header = ["row", "test accuracy (95 % interval)", "bytes", "deflated", "MACs"]
    header += [f"{name}, ms: median (p90)" for name in timed]
    header += ["epochs", "seconds"]
    lines = []
    for cell in cells:
        if cell.accuracy is None:
            lines.append([cell.name, f"no file: {cell.error}"] + [""] * (len(header) - 2))
            continue
        line = [
            cell.name + ("" if cell.integer_only or cell.name == FLOAT else " (not integer only)"),
            f"{cell.accuracy:.2%} ({cell.low:.2%} to {cell.high:.2%})",
            f"{cell.bytes:,}",
            f"{cell.deflated:,}",
            f"{cell.macs:,}",
        ]
        line += [_milliseconds(found.get(cell.name)) for found in timed.values()]
        lines.append([*line, f"{cell.epochs:g}", f"{cell.seconds:.0f}"])
    return markdown_table(header, lines)


def _milliseconds(pair: list[float] | None) -> str:
    return f"{pair[0]:.3f} ({pair[1]:.3f})" if pair else ""


@dataclasses.dataclass(frozen=True)
class Goal:
    """A goal, and whether it was met.

    Args:
        text: What it asks for.
        met: Whether it was.
        told: By which row, or by how much it was missed.
    """

    text: str
    met: bool
    told: str

    def __str__(self) -> str:
        return f"{'Met' if self.met else 'Missed'}: {self.text}. {self.told}".rstrip()


def goals(cells: Sequence[Cell], latencies: Latencies) -> list[Goal]:
    """Judges a net's cells.

    Args:
        cells: All of them.
        latencies: Of all of them.
    """
    by_name = {cell.name: cell for cell in cells}
    stock, least = by_name[CONVERTER], by_name[FLOAT].score - MOST_LOST
    good = [cell for cell in cells if cell.score >= least]
    ours = [cell for cell in good if cell.owner == "tfopt"]
    theirs = [cell for cell in good if cell.owner not in ("tfopt", "")]
    best = min(theirs, key=lambda cell: cell.deflated, default=stock)
    found = []
    for name, timed in latencies.all.items():
        found.append(_smaller_and_faster(ours, stock, timed, name))
        found.append(_beats_peer(ours, best, timed, name))
    found.append(_fronts(cells, "bytes", lambda cell: cell.bytes, 1.0))
    found.append(_fronts(cells, "deflated bytes", lambda cell: cell.deflated, 1.0))
    for name, timed in latencies.all.items():
        found.append(_fronts(cells, name, median(timed), SAME_LATENCY))
    return found


def _smaller_and_faster(
    ours: Sequence[Cell], stock: Cell, timed: dict[str, list[float]], name: str
) -> Goal:
    """2 times faster and 2.5 times smaller than the plain 8-bit file."""

    def ratios(cell: Cell) -> tuple[float, float]:
        return timed[stock.name][0] / timed[cell.name][0], stock.bytes / cell.bytes

    text = (
        f"within {MOST_LOST * 100:g} point of float, 2 times faster ({name}) and 2.5 times "
        "smaller than the plain 8-bit file"
    )
    return _goal(text, ours, ratios, (2.0, 2.5), ("faster", "smaller"))


def _beats_peer(ours: Sequence[Cell], best: Cell, timed: dict[str, list[float]], name: str) -> Goal:
    """1.7 times smaller than the best peer, compressed, and faster."""

    def ratios(cell: Cell) -> tuple[float, float]:
        return timed[best.name][0] / timed[cell.name][0], best.deflated / cell.deflated

    text = (
        f"within {MOST_LOST * 100:g} point of float, faster ({name}) than the smallest of the "
        f"peers within it ({best.name}, {best.deflated:,} bytes deflated) and 1.7 times smaller "
        "deflated"
    )
    return _goal(text, ours, ratios, (1.0, 1.7), ("faster", "smaller"))


def _goal(
    text: str,
    ours: Sequence[Cell],
    ratios: Callable[[Cell], tuple[float, float]],
    asked: tuple[float, float],
    words: tuple[str, str],
) -> Goal:
    """A goal of two ratios: met by a row that reaches both."""
    if not ours:
        return Goal(text, False, "No row of tfopt's is within it.")

    def reached(cell: Cell) -> float:
        return min(ratio / least for ratio, least in zip(ratios(cell), asked, strict=True))

    nearest = max(ours, key=reached)
    told = " and ".join(
        f"{ratio:.2f} times {word}" for ratio, word in zip(ratios(nearest), words, strict=True)
    )
    return Goal(text, reached(nearest) >= 1, f"{nearest.name}: {told}.")


def _fronts(cells: Sequence[Cell], name: str, measure: Measure, same: float) -> Goal:
    """No point of a peer's front lies outside tfopt's."""
    ours = [cell for cell in cells if cell.owner == "tfopt" and cell.accuracy is not None]
    theirs = [cell for cell in cells if cell.owner != "tfopt" and cell.name != FLOAT]
    outside = [
        peer
        for peer in front(theirs, measure)
        if not any(c.score >= peer.score and measure(c) <= measure(peer) * same for c in ours)
    ]
    told = f"Outside: {', '.join(cell.name for cell in outside)}." if outside else ""
    text = f"no point of a peer's front of accuracy against {name} outside of tfopt's"
    return Goal(text, not outside, told)
