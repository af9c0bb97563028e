"""Matplotlib's drawings as SVG that stands inside a page and takes the page's colours."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What matplotlib draws with stands for a colour that the page's style sheet knows by name: that is
# how a drawing follows light and dark.
INK, MUTED, RULE, ACCENT, PAPER, BAD = (f"#01000{digit}" for digit in range(1, 7))
_NAMES = {INK: "ink", MUTED: "muted", RULE: "rule", ACCENT: "accent", PAPER: "paper", BAD: "bad"}

_STYLE: dict[str, Any] = {
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.5,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.color": RULE,
    "ytick.labelcolor": MUTED,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings of all drawings, back to the user's own when the block ends."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # the letters are the browser's in the end: the font here may lack some of them
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        matplotlib.rcdefaults()
        parameters: Any = matplotlib.rcParams
        parameters.update(_STYLE)
        yield


def panel(
    width: float, height: float, *, margins: tuple[float, float, float, float] | None = None
) -> tuple[Figure, Axes]:
    """A drawing of one panel that needs no display.

    Args:
        width: In inches, 96 pixels each on a page.
        height: In inches.
        margins: The left, right, bottom and top end of the axes as shares of the drawing; None
            leaves room for labels of any length, which takes ten times as long to find out.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=None if margins else "constrained")
    if margins:
        left, right, bottom, top = margins
        figure.subplots_adjust(left=left, right=right, bottom=bottom, top=top)
    return figure, figure.add_subplot()


def inline(figure: Figure, name: str, title: str) -> str:
    """A drawing as an `<svg>` element, the same for the same drawing.

    Args:
        figure: The drawing, in the colours of this module.
        name: Starts every id in it, so that no two drawings of a page share one.
        title: What it shows, for those who do not see it.
    """
    import matplotlib

    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    return _fit(stream.getvalue(), name, title)


def _fit(svg: str, name: str, title: str) -> str:
    """Takes out what only a file of its own needs, and what would reach out of the drawing."""
    from markupsafe import escape

    body = svg[svg.index("<svg") :]
    body = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"', "", body)
    body = re.sub(r"font-family: [^;\"]*;?", "", body)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", body)
    for colour, word in _NAMES.items():
        body = body.replace(f": {colour}", f": var(--{word})")
    body = re.sub(r"\s*\n\s*", "\n", body)
    labelled = f'<svg role="img" aria-labelledby="{name}-title"'
    return body.replace("<svg", labelled, 1).replace(
        ">", f'><title id="{name}-title">{escape(title)}</title>', 1
    )
