"""The sensitivity of layers as a picture: a line for each, a square for each strength."""

from __future__ import annotations

from html import escape

from tfopt.sensitivity.records import Point, Sensitivity

_CELL, _HEIGHT, _GAP = 58, 22, 8
_LETTER = 7  # the width of a letter of 12 pixels, about


def to_svg(sensitivity: Sensitivity) -> str:
    """Draws how much each layer suffers at each strength: the darker, the larger the error.

    Args:
        sensitivity: What was measured.

    Returns:
        An SVG image that needs nothing else; it follows light and dark pages.

    Example:
        >>> from tfopt.sensitivity.records import Curve
        >>> curve = Curve("conv", (Point(0.5, 100, 400, 0.01, 0.97),))
        >>> to_svg(Sensitivity("MagnitudePruning", (curve,), 512, "accuracy", 0.98))[:4]
        '<svg'
    """
    strengths = sorted({p.strength for curve in sensitivity.curves for p in curve.points})
    left = _LETTER * max((len(curve.name) for curve in sensitivity.curves), default=0) + _GAP
    width = max(left + _CELL * len(strengths), 420)
    height = _HEIGHT * (len(sensitivity.curves) + 2)
    parts = [
        _text(left + _CELL * (column + 0.5), _HEIGHT * 0.7, f"{strength:.0%}")
        for column, strength in enumerate(strengths)
    ]
    for row, curve in enumerate(sensitivity.curves, start=1):
        parts.append(_text(left - _GAP, _HEIGHT * (row + 0.7), curve.name, anchor="end"))
        points = {point.strength: point for point in curve.points}
        for column, strength in enumerate(strengths):
            if strength in points:
                parts.append(_cell(left + _CELL * column, _HEIGHT * row, points[strength]))
    what = f"{sensitivity.metric} ({sensitivity.value:.4f} before)" if sensitivity.metric else ""
    told = f"{what or 'error of the outputs'} with one layer by {sensitivity.change}, untrained"
    parts.append(_text(0, height - _HEIGHT * 0.3, told, anchor="start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'font-family="sans-serif" font-size="12" fill="currentColor" role="img">'
        f"<title>{escape(told)}</title>{''.join(parts)}</svg>\n"
    )


def _cell(x: float, y: float, point: Point) -> str:
    """A square whose darkness is the error's root, with the metric in it."""
    shade = min(1.0, point.error) ** 0.5
    shown = point.error if point.metric is None else point.metric
    box = f'x="{x + 1:g}" y="{y + 1:g}" width="{_CELL - 2}" height="{_HEIGHT - 2}"'
    told = f"<title>error {point.error:.4f}, {point.weights:,} weights fewer</title>"
    square = f'<rect {box} rx="2" fill="#c0392b" fill-opacity="{shade:.3f}">{told}</rect>'
    return square + _text(x + _CELL / 2, y + _HEIGHT * 0.7, f"{shown:.3f}")


def _text(x: float, y: float, content: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(content)}</text>'
