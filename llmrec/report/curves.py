"""How training went: loss and quality, and where they set themselves, batch and noise scale."""

from __future__ import annotations

import math
from itertools import accumulate, cycle
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from llmrec.report.evidence import Evidence
from llmrec.report.figures import COLOURS, Picture, bare, draw
from llmrec.report.reading import Rows

Curves = dict[str, list[tuple[float, float]]]
NAMED = 6  # curves that a legend can tell apart
STROKES = ("-", "--", ":", "-.")
ROLES = {"model": "ranks", "mining": "mines negatives"}  # of a run's retrievers


class Panel(NamedTuple):
    """One question: what is on its axes, its curves by name, whose colour they have, and whether y is logarithmic."""

    title: str
    x: str
    y: str
    curves: Curves
    kind: str
    logarithmic: bool = False


def training(evidence: Evidence) -> Picture | None:
    """Loss and quality while models were trained, one panel a question; None where no log says anything."""
    tuned = {name: rows for name, rows in evidence.tuning.items() if rows}
    built = {name: points(rows, "step", "loss") for name, rows in evidence.pretraining.items()}
    losses = {name: points(rows, "step", "loss") for name, rows in tuned.items()}
    losses |= {f"{name}, validation": points(rows, "step", "eval_loss") for name, rows in tuned.items()}
    right = {name: points(rows, "step", "rewards/accuracies") for name, rows in tuned.items()}
    right |= {f"{name}, validation": points(rows, "step", "eval_rewards/accuracies") for name, rows in tuned.items()}
    quality = {ROLES.get(name, name): points(rows, "epoch", "ndcg@10") for name, rows in evidence.fitting.items()}
    return _drawn(
        "training",
        "Training curves.",
        [
            Panel("Language model, pre-training", "step", "loss", built, "untuned"),
            Panel("Preference tuning: loss", "step", "loss", losses, "language"),
            Panel("Preference tuning: chosen above rejected", "step", "share of pairs", right, "language"),
            Panel("Retriever: validation", "epoch", "NDCG@10", quality, "retriever"),
        ],
    )


def adapting(evidence: Evidence) -> Picture | None:
    """Batch and noise scale against what was seen, and quality against that and seconds; None where no batch adapts.

    Quality is of every model whose log says when, so that one that adapts can be held against one that does not.
    """
    fits = {ROLES.get(name, name): _elapsed(rows) for name, rows in evidence.fitting.items()}
    panels = []
    for side, kind, unit, ndcg, logs in (
        ("Preference tuning", "language", "pairs", "eval_ndcg", evidence.tuning),
        ("Retriever", "retriever", "rows", "ndcg@10", fits),
    ):
        if not any(points(rows, "samples", "batch") for rows in logs.values()):
            continue
        sizes = {f"{name}, batch": points(rows, "samples", "batch") for name, rows in logs.items()}
        sizes |= {f"{name}, noise scale": points(rows, "samples", "noise_scale") for name, rows in logs.items()}
        panels.append(Panel(f"{side}: batch and noise scale", f"{unit} seen", unit, sizes, kind, True))
        for x, by in ((f"{unit} seen", "samples"), ("seconds", "elapsed")):
            said = "NDCG@10" if kind == "retriever" else "NDCG in a pair"
            quality = {name: points(rows, by, ndcg) for name, rows in logs.items()}
            panels.append(Panel(f"{side}: validation", x, said, quality, kind))
    return _drawn("adapting", "Batch and step size that set themselves.", panels)


def _elapsed(rows: Rows) -> Rows:
    """The retriever's log, with the seconds since its beginning."""
    spent = [float(row["seconds"]) if isinstance(row.get("seconds"), int | float) else 0.0 for row in rows]
    return [{**row, "elapsed": until} for row, until in zip(rows, accumulate(spent), strict=True)]


def _drawn(name: str, words: str, asked: list[Panel]) -> Picture | None:
    """The panels that have something to show; None where none has."""
    filled = [one._replace(curves={label: curve for label, curve in one.curves.items() if curve}) for one in asked]
    panels = [one for one in filled if one.curves]
    if not panels:
        return None
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)

    def fill(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, one in zip(grid.flat, panels, strict=False):
            _curves(bare(axes, axis="y"), one.curves, COLOURS[one.kind])
            axes.set(title=one.title, xlabel=one.x, ylabel=one.y)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if one.logarithmic:
                axes.set_yscale("log", base=2)
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())

    alt = f"{words} " + " ".join(f"{one.title}: {_curves_said(one.curves, one.y)}" for one in panels)
    return draw(name, alt, (7.6, 2.35 * rows), fill)


def _curves(axes: Axes, curves: Curves, colour: str) -> None:
    crowd = len(curves) > NAMED
    for (name, curve), line in zip(curves.items(), cycle("-" if crowd else STROKES), strict=False):
        marker = "o" if len(curve) < 12 and not crowd else ""
        label = None if crowd else name or None
        x, y = zip(*curve, strict=True)
        look: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.4} if crowd else {}
        axes.plot(x, y, line, marker=marker, markersize=3.5, color=colour, label=label, **look)
    if crowd:
        axes.text(0.99, 0.97, f"{len(curves)} curves", transform=axes.transAxes, ha="right", va="top", fontsize=8.5)
    elif len(curves) > 1:
        axes.legend()


def _curves_said(curves: Curves, y: str) -> str:
    """Where curves begin and end; of many, between what and what they end."""
    if len(curves) > NAMED:
        ends = [curve[-1][1] for curve in curves.values()]
        return f"{len(curves)} curves end with {y} between {min(ends):.3g} and {max(ends):.3g}."
    return " ".join(
        f"{name + ' ' if name else ''}{y} from {curve[0][1]:.3g} to {curve[-1][1]:.3g}."
        for name, curve in curves.items()
    )


def points(rows: Rows, x: str, y: str) -> list[tuple[float, float]]:
    """The (x, y) of every log line that has both as finite numbers."""

    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    return [(float(row[x]), float(row[y])) for row in rows if number(row.get(x)) and number(row.get(y))]
