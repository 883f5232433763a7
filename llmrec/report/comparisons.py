"""Which comparisons of a table a report spells out: those that a reader asks for, as tables and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from llmrec.errors import RunFault
from llmrec.evaluate.comparison import Comparison, find
from llmrec.evaluate.sentences import OUTCOMES
from llmrec.report.evidence import Evidence
from llmrec.report.reading import Rows
from llmrec.report.tables import Cell, Row, Table
from llmrec.report.words import probability, signed

FEW = 15  # pairs that read well as a list: those of six rankers
LINES = 24  # differences that read well below one another in a figure


def compared(evidence: Evidence, table: str) -> list[Comparison]:
    """Every pair of rankers, in the order of comparisons.json; RunFault where a comparison lacks a part."""
    names = [part.name for part in fields(Comparison)]
    try:
        return [Comparison(**{name: one[name] for name in names}) for one in _rows(evidence, table)]
    except KeyError as fault:
        raise RunFault(
            f"{evidence.run / 'evaluate' / 'comparisons.json'}: a comparison of `{table}` lacks {fault.args[0]}. "
            "Run `evaluate` again."
        ) from None


def sure(c: Comparison) -> bool:
    """Whether the interval and the corrected test both exclude 0."""
    return c.outcome in ("beats", "loses")


def span(c: Comparison) -> str:
    """The difference and its interval."""
    return f"{signed(c.difference)} [{signed(c.low)}, {signed(c.high)}]"


def words(c: Comparison) -> str:
    """A comparison as one sentence, seen from a."""
    return (
        f"{c.a} {OUTCOMES[c.outcome]} {c.b}: {span(c)}, p {probability(c.p_holm)} after correction; "
        f"users won {c.won:,}, tied {c.tied:,}, lost {c.lost:,}"
    )


def sentences(evidence: Evidence, table: str, *, few: int = FEW) -> list[str]:
    """The comparisons of `deciding` as the evaluation put them, the better ranker first."""
    said = {(one["a"], one["b"]): str(one.get("sentence") or "") for one in _rows(evidence, table)}
    return [sentence for c in deciding(evidence, table, few=few) if (sentence := said[c.a, c.b])]


def _rows(evidence: Evidence, table: str) -> Rows:
    found: Rows = evidence.comparisons.get("tables", {}).get(table, [])
    return found


def between(evidence: Evidence, table: str, contenders: Sequence[str], other: str) -> list[Comparison]:
    """Each contender against one ranker, seen from the contender; those that were not compared are left out."""
    made = compared(evidence, table)
    return [c for ranker in contenders if (c := find(made, ranker, other)) is not None]


def differences(evidence: Evidence, table: str) -> list[tuple[str, list[Comparison]]]:
    """What a reader wants to know of a table, as groups: against the best floor, the retriever, before tuning."""
    rankers = list(evidence.tables[table]["rankers"])
    contenders = [r for r in rankers if evidence.kind(r) != "floor"]
    floor = evidence.best_floor(table)
    groups: list[tuple[str, list[Comparison]]] = []
    if floor:
        groups.append((f"against the best floor, {floor}", between(evidence, table, contenders, floor)))
    for retriever in (r for r in rankers if evidence.kind(r) == "retriever"):
        rest = [r for r in contenders if r != retriever]
        title = "against the retriever" + (f", {retriever}" if retriever != "retriever" else "")
        groups.append((title, between(evidence, table, rest, retriever)))
    for before in (r for r in rankers if r in evidence.untuned):
        after = [r for r in contenders if evidence.kind(r) == "language" and r != before]
        groups.append((f"against {before}, the language model as it was", between(evidence, table, after, before)))
    return [(title, lines) for title, lines in groups if lines]


def deciding(evidence: Evidence, table: str, *, few: int = FEW) -> list[Comparison]:
    """The pairs to spell out: all where they are `few`; else those of `differences`, and of many rankers' only those
    between the rankers that stand for the others. Among rankers of which nothing is known, those with the best."""
    every = compared(evidence, table)
    if len(every) <= few:
        return every
    asked = {frozenset((pair.a, pair.b)) for _, lines in differences(evidence, table) for pair in lines}
    if len(asked) > LINES:
        stand = set(evidence.chosen(table))
        asked = {pair for pair in asked if pair <= stand}
    if every and not asked:
        best = max(
            evidence.tables[table]["rankers"].items(), key=lambda kept: float(kept[1][evidence.primary]["mean"])
        )[0]
        asked = {frozenset((pair.a, pair.b)) for pair in every if best in (pair.a, pair.b)}
    return [pair for pair in every if frozenset((pair.a, pair.b)) in asked]


def listed(evidence: Evidence, table: str) -> Table | None:
    """The pairs that decide, one a row; None where nothing was compared."""
    shown = deciding(evidence, table)
    every = len(compared(evidence, table))
    what = f"All {every} pairs" if len(shown) == every else f"The {len(shown)} of {every} pairs that decide"
    return _table(f"pairs-{table}", f"{what}: a minus b on the metric that decides", shown) if shown else None


def sides(evidence: Evidence, table: str) -> Table | None:
    """Fused rankers against the rankers that they mix, user by user; None where none was ranked."""
    rankers = list(evidence.tables[table]["rankers"])
    shown = []
    for ranker in (r for r in rankers if evidence.kind(r) == "fused"):
        run = ranker.rpartition("/")[0]
        mixed = next((facts["language"] for facts in evidence.summaries(ranker) if "language" in facts), None)
        language = evidence.arm(str(mixed)) if mixed else evidence.spokesman(rankers)
        for side in ("retriever", language):
            named = f"{run}/{side}" if f"{run}/{side}" in rankers else side
            shown += between(evidence, table, [ranker], named) if named else []
    caption = "What mixing gives: fused against each of its sides, user by user"
    return _table(f"sides-{table}", caption, shown) if shown else None


def _table(name: str, caption: str, shown: list[Comparison]) -> Table:
    rows = [
        Row(
            pair.a,
            [
                Cell(pair.b),
                Cell(
                    signed(pair.difference),
                    f"{signed(pair.low)} to {signed(pair.high)}",
                    pair.difference,
                    pair.low,
                    pair.high,
                ),
                Cell(probability(pair.p_holm), value=pair.p_holm),
                *(Cell(f"{users:,}", value=users) for users in (pair.won, pair.tied, pair.lost)),
            ],
        )
        for pair in shown
    ]
    columns = ["b", "a − b", "p (Holm)", "users won", "tied", "lost"]
    return Table(name, caption, "a", columns, rows, words=("b",))
