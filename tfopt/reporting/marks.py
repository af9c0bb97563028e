"""Numbers beside the marks of a drawing, none over another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tfopt.reporting.svg import PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Marks closer than this, in points, share one label.
_NEAR, _GAP = 16.0, 11.0


def number_marks(axes: Axes, points: list[tuple[float, float]]) -> None:
    """Writes the numbers of marks beside them, those of one spot together.

    Args:
        axes: Where the marks are, laid out already.
        points: Their places, in the axes' own units, number 1 first.
    """
    pixels = axes.transData.transform(points)
    inches = axes.figure.dpi / 72
    spots = [(float(x) / inches, float(y) / inches) for x, y in pixels]
    for group in _clusters(spots):
        if not math.isfinite(sum(map(sum, (spots[index] for index in group)))):
            continue  # a figure that is no number has no place
        right = max(spots[index][0] for index in group)
        middle = sum(spots[index][1] for index in group) / len(group)
        x, y = spots[group[0]]
        axes.annotate(
            _ranges([index + 1 for index in group]),
            points[group[0]],
            xytext=(right - x + 7, middle - y),
            textcoords="offset points",
            verticalalignment="center",
            in_layout=False,
            # over the lines, so that none runs through a number, and under the marks
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
            zorder=3,
        )


def _clusters(spots: list[tuple[float, float]]) -> list[list[int]]:
    """The marks so close to each other that their numbers would overlap."""
    found: list[list[int]] = []
    for index, (x, y) in enumerate(spots):
        near = [
            group
            for group in found
            if any(abs(x - spots[i][0]) < _NEAR and abs(y - spots[i][1]) < _GAP for i in group)
        ]
        found = [group for group in found if group not in near]
        found.append(sorted([index, *(other for group in near for other in group)]))
    return found


def _ranges(numbers: list[int]) -> str:
    """Numbers in a row as their ends.

    Example:
        >>> _ranges([1, 3, 4, 5, 8])
        '1, 3-5, 8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
