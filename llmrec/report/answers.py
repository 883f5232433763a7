"""How a language model's answers became scores: the rules that validation tried, and which slot it likes."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from llmrec.report.evidence import Evidence
from llmrec.report.figures import COLOURS, INK, Picture, bare, draw
from llmrec.report.reading import mapping
from llmrec.report.tables import Cell, Row, Table, number
from llmrec.report.words import decimal

PANELS = 6  # rankers whose slots fit on one figure
BY = " by "


def rules(evidence: Evidence) -> Table | None:
    """What each rule for turning token probabilities into one score reached on validation; the chosen one is bold.

    Seeds of one arm stand as one row: means, and how often each rule was chosen. None where no ranker tried rules.
    """
    tried: dict[str, dict[str, list[float]]] = {}
    chosen: dict[str, Counter[str]] = {}
    for ranker in evidence.folders:
        for facts in evidence.summaries(ranker):
            for name, value in mapping(facts.get("validation")).items():
                if BY in name and isinstance(value, int | float):
                    tried.setdefault(ranker, {}).setdefault(name, []).append(float(value))
                    chosen.setdefault(ranker, Counter())
            if ranker in chosen and facts.get("rank_by"):
                chosen[ranker][str(facts["rank_by"])] += 1
    names = list(dict.fromkeys(name for values in tried.values() for name in values))
    rows = []
    for ranker, values in tried.items():
        picks = chosen[ranker]
        cells = [
            number(fmean(values[n]) if n in values else None, decimal, best=n.partition(BY)[2] in picks) for n in names
        ]
        seeds = sum(picks.values())
        told = [rule if seeds == 1 else f"{rule} ({times} of {seeds})" for rule, times in picks.items()]
        rows.append(Row(ranker, [*cells, Cell(", ".join(told))], evidence.look(ranker)))
    heads = [n.partition(BY)[2].replace("_", " ") for n in names]
    metrics = " and ".join(dict.fromkeys(n.partition(BY)[0] for n in names)).upper()
    caption = f"How answers became scores: {metrics} on validation by rule, the one that ranked the test in bold"
    return Table("rules", caption, "ranker", [*heads, "chosen"], rows, words=("chosen",)) if rows else None


def slots(evidence: Evidence) -> Picture | None:
    """The mean probability of each slot of a lettered list, whatever stands there; None where nobody measured it.

    `slots` of a summary is what `llmrec.rank.letters.Slots.summary` says, and the number of orders.
    """
    found: dict[str, dict[str, Any]] = {}
    for ranker in evidence.folders:
        facts = next((f["slots"] for f in evidence.summaries(ranker) if mapping(f.get("slots")).get("share")), None)
        if facts:
            found[ranker] = facts
    shown = dict(list(found.items())[:PANELS])
    if not shown:
        return None
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)

    def fill(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, (ranker, facts) in zip(grid.flat, shown.items(), strict=False):
            shares = [float(share) for share in facts["share"]]
            bare(axes, axis="y").bar(range(1, len(shares) + 1), shares, color=COLOURS[evidence.look(ranker)], width=0.7)
            axes.axhline(1 / len(shares), color=INK, linewidth=1, linestyle="--")
            axes.set(title=_told(ranker, facts), xlabel="slot")
        grid[0][0].set_ylabel("mean probability")

    alt = "Which slot each ranker likes, whatever stands in it. " + " ".join(
        f"{ranker}: {', '.join(decimal(float(share)) for share in facts['share'])}." for ranker, facts in shown.items()
    )
    return draw("slots", alt, (7.6, 0.4 + 2.1 * lines), fill)


def _told(ranker: str, facts: dict[str, Any]) -> str:
    """What stands over a panel: who, how uneven, and, of lists that were read more than once, in how many orders."""
    spread, orders = facts.get("spread"), facts.get("orders")
    said = [f"spread {decimal(float(spread))}"] if isinstance(spread, int | float) else []
    said += [f"{orders} orders"] if isinstance(orders, int) and orders > 1 else []
    return "\n".join([ranker, *([", ".join(said)] if said else [])])
