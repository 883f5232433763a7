"""The tables of what rankers reached, as plain values that both pages, the card and the terminal print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmrec.evaluate.sentences import title
from llmrec.report.comparisons import listed, sentences, sides
from llmrec.report.evidence import Evidence
from llmrec.report.matrix import Matrix, matrix
from llmrec.report.slices import slices_table
from llmrec.report.tables import Cell, Row, Table, filled, interval, number
from llmrec.report.words import LISTS, decimal, table_note, table_title


@dataclass(frozen=True)
class Result:
    """Every ranker on one candidate set."""

    name: str
    title: str
    note: str
    asked: str
    """How many queries of how many users."""
    table: Table
    """The metric that decides, HR at every depth, MRR at the depth that decides."""
    more: Table | None
    """The metrics that do not fit beside those."""
    ceiling: str
    """What a perfect reranker would reach, in words; empty where lists always hold the target."""
    captured: Table | None
    """How much of that each ranker reached."""
    matrix: Matrix | None
    pairs: Table | None
    sides: Table | None
    lists: Table | None
    slices: Table | None
    sentences: list[str]
    """The pairs that decide, in words."""


def results(evidence: Evidence) -> list[Result]:
    """One for each candidate set, the full catalogue first."""
    return [_result(evidence, table, facts) for table, facts in evidence.tables.items()]


def _result(evidence: Evidence, table: str, facts: dict[str, Any]) -> Result:
    measured = _worth_showing(facts, evidence.primary)
    columns = _columns(measured, evidence.primary)
    more = [m for m in measured if m not in columns]
    users, asked = facts.get("users", 0), facts.get("queries", 0)
    heading = table_title(evidence, table)
    return Result(
        name=table,
        title=heading,
        note=table_note(evidence, table),
        asked=f"{asked:,} queries of {users:,} users" if asked != users else f"{users:,} users, one query each",
        table=_measured(
            evidence, table, columns, f"results-{table}", f"Every ranker: {heading[0].lower()}{heading[1:]}"
        ),
        more=_measured(evidence, table, more, f"more-{table}", "More metrics of the same rankings") if more else None,
        ceiling=_ceiling(facts),
        captured=_captured(evidence, table, columns),
        matrix=matrix(evidence, table),
        pairs=listed(evidence, table),
        sides=sides(evidence, table),
        lists=_lists(evidence, table, facts),
        slices=slices_table(evidence, table),
        sentences=sentences(evidence, table, few=0),
    )


def _worth_showing(facts: dict[str, Any], primary: str) -> list[str]:
    """The metrics that say something of their own.

    At depth 1 all are HR@1. Where the target is always a candidate (chance is known there), HR at the depth of the
    whole list is 1 for everybody, and the others are what they are one step above; in a two-stage set it is recall.
    """
    depth = facts["candidates"] if facts.get("chance") else None
    shown = []
    for metric in next(iter(facts["rankers"].values()), {}):
        k = int(metric.partition("@")[2] or 2)
        if metric == primary or ((k > 1 or metric == "hit@1") and (depth is None or k < depth)):
            shown.append(metric)
    return shown


def _columns(measured: list[str], primary: str) -> list[str]:
    """The metric that decides, then HR at every depth, then MRR at the depth that decides: what fits on paper."""
    depth = primary.partition("@")[2]
    wanted = [primary, *(m for m in measured if m.startswith("hit@")), f"mrr@{depth}"]
    return [m for i, m in enumerate(wanted) if m in measured and m not in wanted[:i]]


def _measured(evidence: Evidence, table: str, metrics: list[str], name: str, caption: str) -> Table:
    facts = evidence.tables[table]
    rankers: dict[str, dict[str, Any]] = facts["rankers"]
    best = {m: max(float(r[m]["mean"]) for r in rankers.values()) for m in metrics}
    floor = evidence.best_floor(table)
    rows = []
    for ranker, values in rankers.items():
        tags = ["best floor"] if ranker == floor else []
        if ranker in evidence.untuned:
            tags.append("not tuned")
        if ranker in evidence.controls:
            tags.append("control")
        trained = facts.get("seeds", {}).get(ranker, 1)
        if trained > 1:
            tags.append(f"{trained} seeds")
        cells = [interval(values[m], best=decimal(values[m]["mean"]) == decimal(best[m])) for m in metrics]
        rows.append(Row(ranker, cells, evidence.look(ranker), tags))
    chance = facts.get("chance")
    if chance:
        rows.append(Row("chance", [number(chance.get(m), decimal) for m in metrics], "chance", ["knows nothing"]))
    return Table(name, caption, "ranker", [title(m) for m in metrics], rows, title(evidence.primary))


def _ceiling(facts: dict[str, Any]) -> str:
    composed = facts.get("composed")
    if not composed:
        return ""
    reached = composed["ceiling"]
    return (
        f"The recall ceiling is {decimal(reached)}: the lists hold the target for {100 * reached:.1f} % of queries, "
        "and a perfect reranker would put it first for exactly those, which is the highest that any metric here can be."
    )


def _captured(evidence: Evidence, table: str, metrics: list[str]) -> Table | None:
    """Each metric over the queries whose target was retrieved: as a miss scores 0, its share of the recall ceiling."""
    composed = evidence.tables[table].get("composed") or {}
    if not composed.get("rankers"):
        return None
    depth = evidence.primary.partition("@")[2]
    shown = [m for m in metrics if m in (evidence.primary, "hit@1", f"hit@{depth}")]
    rows = [
        Row(ranker, [_percent(values[m]) for m in shown], evidence.look(ranker))
        for ranker, values in composed["rankers"].items()
    ]
    caption = (
        f"The share of the ceiling ({decimal(composed['ceiling'])}) that each ranker captured: its mean over the "
        f"{composed['retrieved']:,} queries whose target was retrieved"
    )
    return Table(f"captured-{table}", caption, "ranker", [title(m) for m in shown], rows, title(evidence.primary))


def _percent(facts: dict[str, float]) -> Cell:
    mean, low, high = facts["mean"], facts["low"], facts["high"]
    return Cell(f"{100 * mean:.1f} %", f"{100 * low:.1f}–{100 * high:.1f}", mean, low, high)


def _lists(evidence: Evidence, table: str, facts: dict[str, Any]) -> Table | None:
    """What the lists are like, whatever they hit: coverage, concentration, novelty and so on; None if not measured."""
    found: dict[str, dict[str, Any]] = facts.get("lists") or {}
    metrics = list(dict.fromkeys(metric for values in found.values() for metric in values))
    heads = [metric.replace("_", " ") for metric in metrics]
    rows = [Row(r, [interval(values.get(m)) for m in metrics], evidence.look(r)) for r, values in found.items()]
    told = [(head, LISTS[stem]) for head in heads if (stem := head.partition("@")[0]) in LISTS]
    seen: dict[str, str] = {note: head.partition("@")[0] for head, note in reversed(told)}
    notes = [(head, note) for note, head in reversed(seen.items())]
    table_ = Table(f"lists-{table}", "What the lists are like", "ranker", heads, rows)
    kept = filled(table_) if rows else None
    return None if kept is None else Table(kept.name, kept.caption, kept.head, kept.columns, kept.rows, notes=notes)
