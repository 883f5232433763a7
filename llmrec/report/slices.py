"""For whom a ranker works: the metric that decides by group of queries, as a figure and as its numbers."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmrec.evaluate.sentences import title as written
from llmrec.report.evidence import Evidence
from llmrec.report.figures import COLOURS, MARKERS, Picture, bare, draw
from llmrec.report.tables import Cell, Row, Table, interval
from llmrec.report.words import SLICES, decimal, table_title


def slices(evidence: Evidence, table: str) -> Picture | None:
    """The primary metric by group of queries, for the rankers that a reader compares; None where none was measured."""
    found: dict[str, dict[str, Any]] = evidence.metrics.get("slices", {}).get(table, {})
    found = {name: groups for name, groups in found.items() if len(groups) > 1}
    shown = evidence.chosen(table)
    if not found or not shown:
        return None
    metric = written(evidence.primary)
    lines = shelved({name: len(groups) for name, groups in found.items()})

    def fill(figure: Figure) -> None:
        panels: list[Axes] = []
        parts = figure.subfigures(len(lines), 1, squeeze=False)
        for part, names in zip(parts[:, 0], lines, strict=True):
            widths = [len(found[name]) + 1 for name in names]
            row = part.subplots(1, len(names), sharey=True, squeeze=False, width_ratios=widths)[0]
            for axes, name in zip(row, names, strict=True):
                _panel(bare(axes, axis="y"), found[name], shown, evidence)
                axes.set_title(SLICES.get(name, name.replace("_", " ")))
            row[0].set_ylabel(metric)
            panels += list(row)
        top = 1.08 * max(axes.get_ylim()[1] for axes in panels)
        for axes in panels:
            axes.set_ylim(0, top)
        figure.supxlabel("group, and how many queries it has", fontsize=8.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(5, len(shown)))

    alt = f"{table_title(evidence, table)}: {metric} by group of queries. " + " ".join(
        _said(name, groups, shown) for name, groups in found.items()
    )
    return draw(f"slices-{table}", alt, (7.6, 0.5 + 2.4 * len(lines)), fill)


def _said(name: str, groups: dict[str, Any], shown: list[str]) -> str:
    """What each ranker reaches in the first and in the last group."""
    (first, low), *_, (last, high) = groups.items()
    spans = [
        f"{ranker} {decimal(low['rankers'][ranker]['mean'])} and {decimal(high['rankers'][ranker]['mean'])}"
        for ranker in shown
        if ranker in low["rankers"] and ranker in high["rankers"]
    ]
    return f"{SLICES.get(name, name.replace('_', ' '))}, in the group {first} and in {last}: {', '.join(spans)}."


def shelved(widths: dict[str, int]) -> list[list[str]]:
    """Panels on as few lines as they fit, in order: about ten groups a line, and never more than three panels.

    >>> shelved({"popularity": 10, "length": 3, "title": 3, "cold": 2, "age": 3})
    [['popularity'], ['length', 'title', 'cold'], ['age']]
    """
    lines: list[list[str]] = []
    room = 0
    for name, width in widths.items():
        if not lines or width > room or len(lines[-1]) == 3:
            lines.append([])
            room = 10
        lines[-1].append(name)
        room -= width
    return lines


def _panel(axes: Axes, groups: dict[str, Any], shown: list[str], evidence: Evidence) -> None:
    for i, ranker in enumerate(shown):
        _dots(axes, groups, ranker, (i - (len(shown) - 1) / 2) * 0.75 / max(5, len(shown)), evidence.look(ranker))
    narrow = len(groups) > 3
    names = [group.replace(" to ", "\nto ") if narrow else group for group in groups]
    asked = [f"{part['queries']:,}" for part in groups.values()]
    axes.set_xticks(range(len(groups)), [f"{name}\n{n}" for name, n in zip(names, asked, strict=True)])
    axes.set_xlim(-0.6, len(groups) - 0.4)


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


def slices_table(evidence: Evidence, table: str) -> Table | None:
    """The numbers of the slices figure: the metric that decides, by group, of the rankers that stand for all."""
    found: dict[str, dict[str, Any]] = evidence.metrics.get("slices", {}).get(table, {})
    shown = evidence.chosen(table)
    rows = []
    for name, groups in found.items():
        for group, part in groups.items():
            asked = Cell(f"{part['queries']:,}", value=part["queries"])
            cells = [interval(part["rankers"].get(ranker)) for ranker in shown]
            rows.append(Row(f"{name.replace('_', ' ')}: {group}", [asked, *cells]))
    caption = f"{written(evidence.primary)} by group of queries"
    return Table(f"slices-{table}", caption, "group", ["queries", *shown], rows) if rows and shown else None
