"""The figures of a report: who wins, how training went, for whom it works; cost and slots have files of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llmrec.evaluate.comparison import Comparison
from llmrec.evaluate.sentences import title as written
from llmrec.report.answers import slots
from llmrec.report.comparisons import LINES, deciding, differences, span, sure
from llmrec.report.evidence import Evidence
from llmrec.report.figures import COLOURS, INK, MARKERS, PAPER, Picture, bare, draw
from llmrec.report.pareto import pareto
from llmrec.report.reading import Rows
from llmrec.report.slices import slices
from llmrec.report.words import signed, table_title

Curves = dict[str, list[tuple[float, float]]]
Groups = list[tuple[str, list[Comparison]]]
NAMED = 6  # curves that a legend can tell apart
STROKES = ("-", "--", ":", "-.")


def who_wins(evidence: Evidence, table: str) -> Picture | None:
    """Differences of the primary metric with their intervals: a line each, or, of many rankers, a panel a question."""
    groups = differences(evidence, table)
    if not groups:
        return None
    lines = sum(len(found) + 1 for _, found in groups)
    metric = written(evidence.primary)
    many = lines > LINES
    said = [pair for pair in deciding(evidence, table) if sure(pair) or not many]
    alt = f"{table_title(evidence, table)}: differences in {metric} with 95 % intervals, " + (
        "; ".join(f"{d.a} minus {d.b} {span(d)}" for _, f in groups for d in f)
        if not many
        else "; ".join(
            f"{title}: {sum(d.outcome == 'beats' for d in found)} beat it, {sum(d.outcome == 'loses' for d in found)} "
            f"lose, of {len(found)}"
            for title, found in groups
        )
        + "".join(f"; {pair.a} minus {pair.b} {span(pair)}" for pair in said)
    )
    name = f"who-wins-{table}"
    if many:
        rows = {d.a for _, found in groups for d in found}
        size = (7.6, 1.0 + 0.22 * len(rows))
        return draw(name, alt, size, lambda figure: _panels(figure, evidence, table, groups))
    return draw(name, alt, (7.6, 0.75 + 0.29 * lines), lambda figure: _forest(figure, evidence, groups))


def _forest(figure: Figure, evidence: Evidence, groups: Groups) -> None:
    """One difference below the other, each with its numbers."""
    axes = bare(figure.subplots(), axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    y, ticks, labels = 0.0, [], []
    for title, found in groups:
        axes.text(0, y, title, transform=axes.get_yaxis_transform(), va="center", style="italic", fontsize=8.5)
        y += 1
        for line in found:
            _whisker(axes, line, y, evidence.look(line.a))
            said = f"{signed(line.difference)}  [{signed(line.low)}, {signed(line.high)}]"
            axes.text(1.01, y, said, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
            ticks.append(y)
            labels.append(line.a)
            y += 1
    axes.set_yticks(ticks, labels)
    axes.set_ylim(y - 0.3, -0.7)
    reach = _reach(groups)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"difference in {written(evidence.primary)}: left of 0 is worse, right is better")


def _panels(figure: Figure, evidence: Evidence, table: str, groups: Groups) -> None:
    """One row a ranker, best first, one panel a ranker that it is held against."""
    means = evidence.tables[table]["rankers"]
    names = {d.a for _, found in groups for d in found}
    order = sorted(names, key=lambda name: -float(means[name][evidence.primary]["mean"]))
    grid = figure.subplots(1, len(groups), sharey=True, sharex=True, squeeze=False)[0]
    for axes, (title, found) in zip(grid, groups, strict=True):
        bare(axes, axis="x").axvline(0, color=INK, linewidth=1)
        for line in found:
            _whisker(axes, line, order.index(line.a), evidence.look(line.a))
        other = title.partition(", the language model")[0].removeprefix("against ")
        axes.set_title(f"against\n{other.removeprefix('the best floor, ')}", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    grid[0].set_yticks(range(len(order)), order)
    grid[0].set_ylim(len(order) - 0.4, -0.6)
    reach = _reach(groups)
    grid[0].set_xlim(-reach, reach)
    figure.supxlabel(f"difference in {written(evidence.primary)}: left of 0 is worse, right is better", fontsize=9)


def _whisker(axes: Axes, line: Comparison, y: float, look: str) -> None:
    colour = COLOURS[look]
    axes.plot([line.low, line.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    face = colour if sure(line) else PAPER
    axes.plot(line.difference, y, MARKERS[look], color=colour, markerfacecolor=face)


def _reach(groups: Groups) -> float:
    return max(max(abs(d.low), abs(d.high)) for _, found in groups for d in found) * 1.08 or 1.0


def training(evidence: Evidence) -> Picture | None:
    """Loss and quality while models were trained, one panel a question; None where no log says anything."""
    tuned = {name: rows for name, rows in evidence.tuning.items() if rows}
    panels: list[tuple[str, str, str, Curves, str]] = []

    def panel(title: str, x: str, y: str, curves: Curves, kind: str) -> None:
        curves = {name: points for name, points in curves.items() if points}
        if curves:
            panels.append((title, x, y, curves, kind))

    built = {name: points(rows, "step", "loss") for name, rows in evidence.pretraining.items()}
    panel("Language model, pre-training", "step", "loss", built, "untuned")
    losses = {name: points(rows, "step", "loss") for name, rows in tuned.items()}
    losses |= {f"{name}, validation": points(rows, "step", "eval_loss") for name, rows in tuned.items()}
    panel("Preference tuning: loss", "step", "loss", losses, "language")
    right = {name: points(rows, "step", "rewards/accuracies") for name, rows in tuned.items()}
    right |= {f"{name}, validation": points(rows, "step", "eval_rewards/accuracies") for name, rows in tuned.items()}
    panel("Preference tuning: chosen above rejected", "step", "share of pairs", right, "language")
    quality = {
        {"model": "ranks", "mining": "mines negatives"}.get(name, name): points(rows, "epoch", "ndcg@10")
        for name, rows in evidence.fitting.items()
    }
    panel("Retriever: validation", "epoch", "NDCG@10", quality, "retriever")
    if not panels:
        return None

    def fill(figure: Figure) -> None:
        columns = min(2, len(panels))
        grid = figure.subplots(math.ceil(len(panels) / columns), columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (title, x, y, curves, kind) in zip(grid.flat, panels, strict=False):
            _curves(bare(axes, axis="y"), curves, COLOURS[kind])
            axes.set(title=title, xlabel=x, ylabel=y)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))

    alt = "Training curves. " + " ".join(f"{title}: {_curves_said(curves, y)}" for title, _, y, curves, _ in panels)
    return draw("training", alt, (7.6, 2.35 * math.ceil(len(panels) / min(2, len(panels)))), fill)


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


def pictures(evidence: Evidence) -> dict[str, Picture]:
    """Every figure that the run has something to show in, by name."""
    makers: list[Callable[[], Picture | None]] = [
        lambda: training(evidence),
        lambda: pareto(evidence),
        lambda: slots(evidence),
    ]
    for table in evidence.tables:
        makers += [lambda t=table: who_wins(evidence, t), lambda t=table: slices(evidence, t)]  # type: ignore[misc]
    return {picture.name: picture for picture in (make() for make in makers) if picture is not None}
