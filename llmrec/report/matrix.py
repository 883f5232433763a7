"""Every ranker against every other, as a square that can be read at a glance: by sign and by colour."""

from __future__ import annotations

import json
from dataclasses import dataclass

from llmrec.evaluate.comparison import Comparison
from llmrec.evaluate.sentences import OUTCOMES
from llmrec.report.comparisons import compared, words
from llmrec.report.evidence import Evidence
from llmrec.report.words import signed

SIGNS = {"beats": "▲", "ahead": "△", "level": "≈", "behind": "▽", "loses": "▼"}

HEADS = ("a", "b", "difference", "low", "high", "p", "p (Holm)", "users won", "users tied", "users lost", "outcome")


@dataclass(frozen=True)
class Meeting:
    """A cell of the matrix: the ranker of its row against the ranker of its column."""

    outcome: str
    sign: str
    text: str
    words: str
    exact: str
    """The pair's line of the CSV file as JSON, on one of its two cells; empty on the other."""


@dataclass(frozen=True)
class Matrix:
    """All pairs of a table, best ranker first."""

    name: str
    caption: str
    rankers: list[tuple[str, str]]
    """(name, look)."""
    rows: list[list[Meeting | None]]
    """None where a ranker would meet itself."""
    heads: str
    """The heads of the CSV file as JSON."""
    signs: list[tuple[str, str, str]]
    """(outcome, sign, what it says)."""


def matrix(evidence: Evidence, table: str) -> Matrix | None:
    """Every ranker against every other; None where there are not three to make it worth while."""
    made = compared(evidence, table)
    means = {name: float(v[evidence.primary]["mean"]) for name, v in evidence.tables[table]["rankers"].items()}
    order = sorted(means, key=lambda name: -means[name])
    if len(order) < 3 or not made:
        return None
    met: dict[tuple[str, str], Meeting] = {}
    for pair in made:
        line = [pair.a, pair.b, pair.difference, pair.low, pair.high, pair.p, pair.p_holm]
        exact = json.dumps([*line, pair.won, pair.tied, pair.lost, pair.outcome], ensure_ascii=False)
        met[pair.a, pair.b] = _meeting(pair, exact)
        met[pair.b, pair.a] = _meeting(pair.turned(), "")
    return Matrix(
        f"matrix-{table}",
        f"All {len(made)} pairs: the ranker of a row minus the ranker of a column. It beats it where the "
        "interval and the test corrected for all pairs (Holm) both exclude 0",
        [(name, evidence.look(name)) for name in order],
        [[met.get((row, column)) for column in order] for row in order],
        json.dumps(HEADS),
        [(outcome, sign, f"{OUTCOMES[outcome]} the other") for outcome, sign in SIGNS.items()],
    )


def _meeting(pair: Comparison, exact: str) -> Meeting:
    return Meeting(pair.outcome, SIGNS[pair.outcome], signed(pair.difference), words(pair), exact)
