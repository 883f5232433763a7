"""The tables of a report, as plain values that both pages print."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmrec.evaluate.sentences import title
from llmrec.report.evidence import Evidence
from llmrec.report.plots import differences, look
from llmrec.report.words import count, decimal, probability, seconds, signed, table_note, table_title


@dataclass(frozen=True)
class Cell:
    """One metric of one ranker."""

    mean: str
    interval: str
    best: bool


@dataclass(frozen=True)
class Row:
    """One ranker: its look, what is worth knowing beside its name, and its cells in the order of the columns."""

    ranker: str
    look: str
    tags: list[str]
    cells: list[Cell]


@dataclass(frozen=True)
class Result:
    """Every ranker on one candidate set."""

    name: str
    title: str
    note: str
    asked: str
    """How many queries of how many users."""
    columns: list[str]
    primary: str
    """The column that decides."""
    rows: list[Row]
    more: list[str]
    """The columns that do not fit beside the others."""
    more_rows: list[Row] = field(default_factory=list)
    comparisons: list[dict[str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    """Those comparisons in words that the who-wins figure shows."""


def results(evidence: Evidence) -> list[Result]:
    """One for each candidate set, the full catalogue first."""
    return [_result(evidence, table, facts) for table, facts in evidence.tables.items()]


def _result(evidence: Evidence, table: str, facts: dict[str, Any]) -> Result:
    measured = _worth_showing(facts, evidence.primary)
    columns = _columns(measured, evidence.primary)
    more = [m for m in measured if m not in columns]
    users, asked = facts.get("users", 0), facts.get("queries", 0)
    return Result(
        name=table,
        title=table_title(evidence, table),
        note=table_note(table, facts),
        asked=f"{asked:,} queries of {users:,} users" if asked != users else f"{users:,} users, one query each",
        columns=[title(m) for m in columns],
        primary=title(evidence.primary),
        rows=_rows(evidence, table, facts, columns),
        more=[title(m) for m in more],
        more_rows=_rows(evidence, table, facts, more),
        comparisons=_comparisons(evidence, table),
        sentences=_sentences(evidence, table),
    )


def _worth_showing(facts: dict[str, Any], primary: str) -> list[str]:
    """The metrics that say something of their own.

    At depth 1 all are HR@1. Where the target is always a candidate (chance is known there), HR at the depth of the
    whole list is 1 for everybody, and the others are what they are one step above; in a two-stage set it is recall.
    """
    depth = facts["candidates"] if facts.get("chance") else None
    shown = []
    for metric in next(iter(facts["rankers"].values()), {}):
        k = int(metric.split("@")[1])
        if metric == primary or ((k > 1 or metric == "hit@1") and (depth is None or k < depth)):
            shown.append(metric)
    return shown


def _columns(measured: list[str], primary: str) -> list[str]:
    """The metric that decides, then HR at every depth, then MRR at the depth that decides: what fits on paper."""
    depth = primary.partition("@")[2]
    wanted = [primary, *(m for m in measured if m.startswith("hit@")), f"mrr@{depth}"]
    return [m for i, m in enumerate(wanted) if m in measured and m not in wanted[:i]]


def _rows(evidence: Evidence, table: str, facts: dict[str, Any], metrics: list[str]) -> list[Row]:
    if not metrics:
        return []
    rankers: dict[str, dict[str, Any]] = facts["rankers"]
    best = {m: max(float(r[m]["mean"]) for r in rankers.values()) for m in metrics}
    floor = evidence.best_floor(table)
    rows = []
    for ranker, values in rankers.items():
        tags = ["best floor"] if ranker == floor else []
        if ranker in evidence.untuned:
            tags.append("not tuned")
        trained = facts.get("seeds", {}).get(ranker, 1)
        if trained > 1:
            tags.append(f"{trained} seeds")
        cells = [
            Cell(
                decimal(values[m]["mean"]),
                f"{decimal(values[m]['low'])}–{decimal(values[m]['high'])}",
                decimal(values[m]["mean"]) == decimal(best[m]),
            )
            for m in metrics
        ]
        rows.append(Row(ranker, look(evidence, ranker), tags, cells))
    chance = facts.get("chance")
    if chance:
        cells = [Cell(decimal(chance[m]) if m in chance else "", "", False) for m in metrics]
        rows.append(Row("chance", "chance", ["knows nothing"], cells))
    return rows


def _comparisons(evidence: Evidence, table: str) -> list[dict[str, str]]:
    """Every pair that was compared, in words and numbers."""
    return [
        {
            "sentence": str(c.get("sentence", "")),
            "a": str(c["a"]),
            "b": str(c["b"]),
            "difference": signed(c["difference"]),
            "interval": f"{signed(c['low'])} to {signed(c['high'])}",
            "p": probability(c.get("p_holm")),
            "users": f"{c.get('won', 0):,} / {c.get('tied', 0):,} / {c.get('lost', 0):,}",
        }
        for c in evidence.comparisons.get("tables", {}).get(table, [])
    ]


def _sentences(evidence: Evidence, table: str) -> list[str]:
    drawn = {frozenset((d.a, d.b)) for _, lines in differences(evidence, table) for d in lines}
    made = evidence.comparisons.get("tables", {}).get(table, [])
    return [str(c["sentence"]) for c in made if c.get("sentence") and frozenset((c["a"], c["b"])) in drawn]


@dataclass(frozen=True)
class Spent:
    """What one stage took; `share` of the whole, in percent, for a bar."""

    stage: str
    seconds: str
    memory: str
    device: str
    share: float


def spent(evidence: Evidence) -> tuple[list[Spent], str]:
    """Each stage in the order in which they started, and the sum in words."""
    stages = [s for s in evidence.cost.get("stages", []) if isinstance(s.get("seconds"), int | float)]
    total = sum(s["seconds"] for s in stages)
    rows = [
        Spent(
            str(s.get("stage", "")),
            seconds(s["seconds"]),
            f"{s['peak_rss_gb']:.1f} GB" if isinstance(s.get("peak_rss_gb"), int | float) else "",
            str(s.get("device") or ""),
            100 * s["seconds"] / total if total else 0,
        )
        for s in stages
    ]
    return rows, seconds(total) if stages else ""


def speeds(evidence: Evidence) -> list[dict[str, str]]:
    """How fast each ranker answers, and how large it is."""
    rows = []
    order = [ranker for facts in evidence.tables.values() for ranker in facts["rankers"]]
    rankers: dict[str, dict[str, Any]] = evidence.cost.get("rankers", {})
    for ranker in sorted(
        rankers, key=lambda r: [order.index(o) for o in (r, r.rpartition("-s")[0]) if o in order] or [99]
    ):
        facts = rankers[ranker]
        rate, size = facts.get("users_per_second"), facts.get("parameters")
        rows.append(
            {
                "ranker": ranker,
                "look": look(evidence, ranker),
                "rate": count(rate) if isinstance(rate, int | float) else "",
                "size": _size(size) if isinstance(size, int | float) else "",
                "took": seconds(facts["seconds"]) if isinstance(facts.get("seconds"), int | float) else "",
            }
        )
    return rows


def _size(parameters: float) -> str:
    """A number of parameters.

    >>> _size(1_230_000), _size(560), _size(7e9)
    ('1.2 M', '560', '7.0 G')
    """
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:.1f} {name}"
    return f"{parameters:.0f}"
