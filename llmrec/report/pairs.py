"""Every pair of rankers of a table: the pairs that a reader asks for, and all of them as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from llmrec.report.evidence import Evidence
from llmrec.report.tables import Cell, Row, Table
from llmrec.report.words import probability, signed

Outcome = Literal["beats", "ahead", "level", "behind", "loses"]
SIGNS: dict[Outcome, str] = {"beats": "▲", "ahead": "△", "level": "≈", "behind": "▽", "loses": "▼"}
WORDS: dict[Outcome, str] = {
    "beats": "beats",
    "ahead": "is ahead of",
    "level": "cannot be told from",
    "behind": "is behind",
    "loses": "loses to",
}
TURNED: dict[Outcome, Outcome] = {
    "beats": "loses", "ahead": "behind", "level": "level", "behind": "ahead", "loses": "beats"
}  # fmt: skip
FEW = 15  # pairs that read well as a list: those of six rankers
LINES = 24  # differences that read well below one another in a figure


@dataclass(frozen=True)
class Pair:
    """a minus b on the metric that decides, with its interval."""

    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float | None = None
    p_holm: float | None = None
    won: int = 0
    """Users for whom a scored higher."""
    tied: int = 0
    lost: int = 0
    sentence: str = ""

    @property
    def sure(self) -> bool:
        """Whether the interval excludes 0 and, where there is one, the corrected test agrees."""
        return (self.low > 0 or self.high < 0) and (self.p_holm is None or self.p_holm <= 0.05)

    @property
    def outcome(self) -> Outcome:
        """As `llmrec.evaluate.comparison.Comparison.outcome`."""
        if self.low <= 0 <= self.high or self.difference == 0:
            return "level"
        if self.difference > 0:
            return "beats" if self.sure else "ahead"
        return "loses" if self.sure else "behind"

    @property
    def words(self) -> str:
        """The pair as one sentence."""
        corrected = "" if self.p_holm is None else f", p {probability(self.p_holm)} after correction"
        return (
            f"{self.a} {WORDS[self.outcome]} {self.b}: {self.interval}{corrected}; "
            f"users won {self.won:,}, tied {self.tied:,}, lost {self.lost:,}"
        )

    @property
    def interval(self) -> str:
        """The difference and its interval."""
        return f"{signed(self.difference)} [{signed(self.low)}, {signed(self.high)}]"

    def turned(self) -> Pair:
        """The same pair seen from b."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            won=self.lost,
            lost=self.won,
        )


def pairs(evidence: Evidence, table: str) -> list[Pair]:
    """Every pair that was compared, in the order of comparisons.json."""
    made: list[dict[str, Any]] = evidence.comparisons.get("tables", {}).get(table, [])
    return [
        Pair(
            a=str(c["a"]),
            b=str(c["b"]),
            difference=float(c["difference"]),
            low=float(c["low"]),
            high=float(c["high"]),
            p=c.get("p"),
            p_holm=c.get("p_holm"),
            won=int(c.get("won", 0)),
            tied=int(c.get("tied", 0)),
            lost=int(c.get("lost", 0)),
            sentence=str(c.get("sentence", "")),
        )
        for c in made
    ]


def between(evidence: Evidence, table: str, contenders: Sequence[str], other: str) -> list[Pair]:
    """Each contender against one ranker, seen from the contender; those that were not compared are left out."""
    made = {(pair.a, pair.b): pair for pair in pairs(evidence, table)}
    made |= {(pair.b, pair.a): pair.turned() for pair in made.values()}
    return [made[ranker, other] for ranker in contenders if (ranker, other) in made]


def differences(evidence: Evidence, table: str) -> list[tuple[str, list[Pair]]]:
    """What a reader wants to know of a table, as groups: against the best floor, the retriever, before tuning."""
    rankers = list(evidence.tables[table]["rankers"])
    contenders = [r for r in rankers if evidence.kind(r) != "floor"]
    floor = evidence.best_floor(table)
    groups: list[tuple[str, list[Pair]]] = []
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


def deciding(evidence: Evidence, table: str, *, few: int = FEW) -> list[Pair]:
    """The pairs to spell out: all where they are `few`; else those of `differences`, and of many rankers' only those
    between the rankers that stand for the others. Among rankers of which nothing is known, those with the best."""
    every = pairs(evidence, table)
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
    every = len(pairs(evidence, table))
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


def _table(name: str, caption: str, shown: list[Pair]) -> Table:
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
