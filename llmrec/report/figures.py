"""How figures look here: quiet axes, colours that everybody can tell apart, one SVG that works on white and on black.

Colours are close to those of Okabe and Ito (2008). Nothing is told by colour alone: markers and words say it too. A
figure exists twice: inline, where ink and colours are CSS variables of the page and so follow its light or dark theme,
and as a file with a white ground, for Markdown.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1b1f24"
FAINT = "#9aa3ad"
PAPER = "#fffffe"  # the ground; not quite white, so that nothing else is taken for it
COLOURS = {
    "language": "#d55e00",
    "untuned": "#e69f00",
    "retriever": "#0072b2",
    "fused": "#aa4499",
    "floor": "#6b7480",
    "other": "#009e73",
}
MARKERS = {"language": "o", "untuned": "D", "retriever": "s", "fused": "^", "floor": "v", "other": "P"}
STYLE: dict[str, Any] = {
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.grid.axis": "both",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "llmrec",  # ids inside the SVG are then the same every time
    "text.color": INK,
    "text.parse_math": False,  # names are data: a ranker called `a$b$` is not a formula
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
WORDS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Picture:
    """A figure: its file name, what it shows in words, and itself as SVG."""

    name: str
    alt: str
    svg: str

    @property
    def inline(self) -> Markup:
        """For the page: no ground of its own, colours as CSS variables."""
        # Two figures that draw the same marker call it by the same id, and a page has each id once.
        body = re.sub(r'( id="|#)([mp][0-9a-f]{10})\b', rf"\g<1>{self.name}-\g<2>", self.svg)
        for kind, colour in {"ink": INK, "faint": FAINT, "paper": PAPER, **COLOURS}.items():
            body = re.sub(re.escape(colour), f"var(--{kind})", body, flags=re.IGNORECASE)
        return Markup(body.replace("<svg ", f'<svg role="img" aria-label="{escape(self.alt)}" ', 1))

    def write(self, folder: Path) -> Path:
        """As a file that stands alone, on white, so that it can be read wherever Markdown is shown."""
        ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
        path = folder / f"{self.name}.svg"
        path.write_text(re.sub(r"(<svg [^>]*>)", rf"\g<1>{ground}", self.svg, count=1) + "\n", encoding="utf-8")
        return path


@contextmanager
def styled() -> Iterator[None]:
    """Everything is drawn inside this; the caller's own matplotlib settings come back afterwards."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)  # type: ignore[arg-type]  # its keys are typed as literals
        # Text stays text in the SVG, so a glyph that matplotlib's own font lacks is the reader's browser's to find.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def draw(name: str, alt: str, size: tuple[float, float], fill: Callable[[Figure], None]) -> Picture:
    """A picture of `size` inches, filled in by `fill`."""
    with styled():
        figure = Figure(figsize=size, layout="constrained")
        fill(figure)
        held = io.StringIO()
        figure.savefig(held, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Picture(name, alt, _cleaned(held.getvalue()))


def bare(axes: Axes, *, axis: str | None = None) -> Axes:
    """Axes without the left spine, with a grid along one axis only."""
    axes.spines["left"].set_visible(False)
    if axis is not None:
        axes.grid(False)
        axes.grid(True, axis=axis)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    return axes


def _cleaned(svg: str) -> str:
    """The bare <svg> element: no prologue, no metadata, and only ids that something refers to."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found.group(0) if found.group(1) in used else "", svg)
    return re.sub(r"'?DejaVu Sans'?(, sans-serif)?", WORDS.replace("'", ""), svg)
