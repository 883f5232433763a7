"""The figures of a report: who wins, how training went, for whom it works."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llmrec.evaluate.sentences import title as written
from llmrec.report.evidence import Evidence, Rows
from llmrec.report.figures import COLOURS, INK, MARKERS, PAPER, Picture, bare, draw
from llmrec.report.words import SLICES, signed, table_title

Curves = dict[str, list[tuple[float, float]]]
LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Difference:
    """One line of a who-wins plot: a minus b with its interval."""

    a: str
    b: str
    difference: float
    low: float
    high: float
    p_holm: float | None

    @property
    def sure(self) -> bool:
        """Whether the interval excludes 0 and, where there is one, the corrected test agrees."""
        return (self.low > 0 or self.high < 0) and (self.p_holm is None or self.p_holm <= 0.05)


def differences(evidence: Evidence, table: str) -> list[tuple[str, list[Difference]]]:
    """What a reader wants to know of a table, as groups: against the best floor, the retriever, and before tuning."""
    rankers = list(evidence.tables[table]["rankers"])
    contenders = [r for r in rankers if evidence.kind(r) != "floor"]
    floor = evidence.best_floor(table)
    groups: list[tuple[str, list[Difference]]] = []
    if floor:
        groups.append((f"against the best floor, {floor}", _against(evidence, table, contenders, floor)))
    if "retriever" in rankers:
        rest = [r for r in contenders if r != "retriever"]
        groups.append(("against the retriever", _against(evidence, table, rest, "retriever")))
    for before in (r for r in rankers if r in evidence.untuned):
        after = [r for r in contenders if evidence.kind(r) == "language" and r != before]
        groups.append((f"against {before}, the language model as it was", _against(evidence, table, after, before)))
    return [(title, lines) for title, lines in groups if lines]


def _against(evidence: Evidence, table: str, contenders: Sequence[str], other: str) -> list[Difference]:
    made = {(c["a"], c["b"]): c for c in evidence.comparisons.get("tables", {}).get(table, [])}
    found = []
    for ranker in contenders:
        if (ranker, other) in made:
            c, sign = made[ranker, other], 1
        elif (other, ranker) in made:
            c, sign = made[other, ranker], -1
        else:
            continue
        low, high = sorted((sign * float(c["low"]), sign * float(c["high"])))
        found.append(Difference(ranker, other, sign * float(c["difference"]), low, high, c.get("p_holm")))
    return found


def who_wins(evidence: Evidence, table: str) -> Picture | None:
    """Differences of the primary metric with their intervals, one line each."""
    groups = differences(evidence, table)
    if not groups:
        return None
    lines = sum(len(found) + 1 for _, found in groups)
    metric = written(evidence.primary)

    def fill(figure: Figure) -> None:
        axes = bare(figure.subplots(), axis="x")
        axes.axvline(0, color=INK, linewidth=1)
        y, ticks, labels = 0.0, [], []
        for title, found in groups:
            axes.text(0, y, title, transform=axes.get_yaxis_transform(), va="center", style="italic", fontsize=8.5)
            y += 1
            for line in found:
                colour = COLOURS[look(evidence, line.a)]
                axes.plot([line.low, line.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
                face = colour if line.sure else PAPER
                axes.plot(line.difference, y, MARKERS[look(evidence, line.a)], color=colour, markerfacecolor=face)
                said = f"{signed(line.difference)}  [{signed(line.low)}, {signed(line.high)}]"
                axes.text(1.01, y, said, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
                ticks.append(y)
                labels.append(line.a)
                y += 1
        axes.set_yticks(ticks, labels)
        axes.set_ylim(y - 0.3, -0.7)
        reach = max(max(abs(d.low), abs(d.high)) for _, found in groups for d in found) * 1.08 or 1.0
        axes.set_xlim(-reach, reach)
        axes.set_xlabel(f"difference in {metric}: left of 0 is worse, right is better")

    alt = f"{table_title(evidence, table)}: differences in {metric} with 95 % intervals, " + "; ".join(
        f"{d.a} minus {d.b} {signed(d.difference)} [{signed(d.low)}, {signed(d.high)}]" for _, f in groups for d in f
    )
    return draw(f"who-wins-{table}", alt, (7.6, 0.75 + 0.29 * lines), fill)


def look(evidence: Evidence, ranker: str) -> str:
    """Whose colour and marker a ranker wears."""
    kind = evidence.kind(ranker)
    return "untuned" if kind == "language" and ranker in evidence.untuned else kind


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

    alt = "Training curves. " + " ".join(
        f"{title}: {name + ' ' if name else ''}{y} from {curve[0][1]:.3g} to {curve[-1][1]:.3g}."
        for title, _, y, curves, _ in panels
        for name, curve in curves.items()
    )
    return draw("training", alt, (7.6, 2.35 * math.ceil(len(panels) / min(2, len(panels)))), fill)


def _curves(axes: Axes, curves: Curves, colour: str) -> None:
    for (name, curve), line in zip(curves.items(), cycle(LINES), strict=False):
        marker = "o" if len(curve) < 12 else ""
        axes.plot(*zip(*curve, strict=True), line, marker=marker, markersize=3.5, color=colour, label=name or None)
    if len(curves) > 1:
        axes.legend()


def points(rows: Rows, x: str, y: str) -> list[tuple[float, float]]:
    """The (x, y) of every log line that has both as finite numbers."""

    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    return [(float(row[x]), float(row[y])) for row in rows if number(row.get(x)) and number(row.get(y))]


def slices(evidence: Evidence, table: str) -> Picture | None:
    """The primary metric by group of queries, for the rankers that a reader compares; None where none was measured."""
    found: dict[str, dict[str, Any]] = evidence.metrics.get("slices", {}).get(table, {})
    found = {name: groups for name, groups in found.items() if groups}
    if not found:
        return None
    shown = chosen(evidence, table)
    metric = written(evidence.primary)

    def fill(figure: Figure) -> None:
        panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for axes, (name, groups) in zip(panels, found.items(), strict=True):
            bare(axes, axis="y")
            for i, ranker in enumerate(shown):
                _dots(axes, groups, ranker, (i - (len(shown) - 1) / 2) * 0.15, look(evidence, ranker))
            axes.set_xticks(range(len(groups)), [f"{group}\n{part['queries']:,}" for group, part in groups.items()])
            axes.set_xlim(-0.6, len(groups) - 0.4)
            axes.set_title(SLICES.get(name, name.replace("_", " ")))
        panels[0].set_ylabel(metric)
        panels[0].set_ylim(0, 1.08 * panels[0].get_ylim()[1])
        figure.supxlabel("group, and how many queries it has", fontsize=8.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(shown))

    by = ", ".join(name.replace("_", " ") for name in found)
    alt = f"{table_title(evidence, table)}: {metric} of {', '.join(shown)} by {by}"
    return draw(f"slices-{table}", alt, (7.6, 2.9), fill)


def _dots(axes: Axes, groups: dict[str, Any], ranker: str, shift: float, kind: str) -> None:
    """One ranker's mean and interval in every group that has it."""
    have = [(x, part["rankers"][ranker]) for x, part in enumerate(groups.values()) if ranker in part["rankers"]]
    where = [x + shift for x, _ in have]
    means = [m["mean"] for _, m in have]
    bars = [[max(0.0, m["mean"] - m["low"]) for _, m in have], [max(0.0, m["high"] - m["mean"]) for _, m in have]]
    axes.errorbar(
        where,
        means,
        yerr=bars,
        fmt=MARKERS[kind],
        color=COLOURS[kind],
        markersize=4.5,
        elinewidth=1.2,
        label=ranker,
        clip_on=False,
    )


def chosen(evidence: Evidence, table: str) -> list[str]:
    """At most five rankers that stand for all: the best floor, the retriever, the LM before and after tuning, fused."""
    rankers = list(evidence.tables[table]["rankers"])
    before = next((r for r in rankers if r in evidence.untuned), None)
    picks = [evidence.best_floor(table), "retriever", before, evidence.spokesman(rankers), "fused"]
    return [r for i, r in enumerate(picks) if r in rankers and r is not None and r not in picks[:i]]


def pictures(evidence: Evidence) -> dict[str, Picture]:
    """Every figure that the run has something to show in, by name."""
    makers: list[Callable[[], Picture | None]] = [lambda: training(evidence)]
    for table in evidence.tables:
        makers += [lambda t=table: who_wins(evidence, t), lambda t=table: slices(evidence, t)]  # type: ignore[misc]
    return {picture.name: picture for picture in (make() for make in makers) if picture is not None}
