"""Five users: what they watched, what they went on to, and what both sides would have offered.

They are drawn from the run's seed among the users that were asked, before anybody looks at how they fared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrec.columns import FOLD, ITEM, KEY, QUERY, RANK, TARGET, USER
from llmrec.ranking import places, read_ranking
from llmrec.report.evidence import Evidence
from llmrec.rng import rng_for

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

LAST = 8
FIRST = 5


@dataclass(frozen=True)
class Offer:
    """The first items of one ranker for one query."""

    ranker: str
    look: str
    titles: list[tuple[str, bool]]
    """(text, whether it is the target), best first."""
    place: str
    """Where the target stands."""


@dataclass(frozen=True)
class Person:
    """One user and one query."""

    user: str
    seen: list[str]
    """The latest items of the history, oldest first."""
    earlier: int
    """How many came before those."""
    target: str
    offers: list[Offer]


def people(evidence: Evidence, larder: Larder | None, *, seed: int, count: int = 5) -> tuple[list[Person], str]:
    """Up to `count` people, and the candidate set that their rankings are of; none without the prepared tables.

    Both sides are shown on the full catalogue where both ranked it, else on the first set that both ranked.
    """
    larder = larder or _larder(evidence.run)
    if larder is None:
        return [], ""
    table, rankers = _sides(evidence)
    if not rankers:
        return [], ""
    queries = larder.queries.filter(pl.col(FOLD) == "test").sort(QUERY)
    rng = rng_for(seed, "report", "people")
    drawn = queries[sorted(rng.choice(queries.height, size=min(count, queries.height), replace=False).tolist())]
    texts, keys = larder.texts, dict(larder.users.select(USER, KEY).iter_rows())
    offers = {name: _offers(evidence, table, name, drawn, texts) for name in rankers}
    found = []
    for query, context in zip(drawn.iter_rows(named=True), larder.contexts(drawn), strict=True):
        found.append(
            Person(
                user=str(keys.get(query[USER], query[USER])),
                seen=[texts[i] for i in np.asarray(context)[-LAST:]],
                earlier=max(0, len(context) - LAST),
                target=texts[query[TARGET]],
                offers=[offers[name][query[QUERY]] for name in rankers],
            )
        )
    return found, table


def _sides(evidence: Evidence) -> tuple[str, list[str]]:
    """The candidate set to show, and the folder names of the retriever and of the language side's spokesman on it."""
    for table in evidence.tables:
        have = sorted(path.parent.name for path in evidence.run.glob(f"rankings/*/{table}.parquet"))
        sides = [name for name in ("retriever", evidence.spokesman(have)) if name in have and name]
        if sides:
            return table, sides
    return "", []


def _offers(evidence: Evidence, table: str, name: str, drawn: pl.DataFrame, texts: list[str]) -> dict[int, Offer]:
    """query -> what one ranker put first."""
    ranking = read_ranking(evidence.run / "rankings" / name / f"{table}.parquet")
    ranking = ranking.join(drawn.select(QUERY), on=QUERY, how="semi")
    first = ranking.filter(pl.col(RANK) <= FIRST).sort(QUERY, RANK).group_by(QUERY, maintain_order=True).agg(ITEM)
    tops = dict(first.iter_rows())
    whole = evidence.tables[table].get("candidates") is not None
    offers = {}
    for row in places(ranking, drawn).iter_rows(named=True):
        titles = [(texts[i], i == row[TARGET]) for i in tops.get(row[QUERY], [])]
        listed = ranking.filter(pl.col(QUERY) == row[QUERY]).height
        place = _place(row["above"], row["tied"], listed, whole=whole)
        offers[row[QUERY]] = Offer(name, evidence.look(name), titles, place)
    return offers


def _place(above: int | None, tied: int | None, listed: int, *, whole: bool) -> str:
    """Where a target stands; `whole` says that the ranking lists all there is, not only its first items.

    >>> _place(0, 1, 20, whole=True), _place(4, 3, 20, whole=True)
    ('1st of 20', '5th to 7th of 20')
    >>> _place(6, 1, 100, whole=False), _place(None, None, 100, whole=False)
    ('7th', 'below the first 100')
    """
    if above is None or tied is None:
        return f"below the first {listed:,}"
    first, last = above + 1, above + tied
    return f"{ordinal(first)}{f' to {ordinal(last)}' if last > first else ''}{f' of {listed:,}' if whole else ''}"


def ordinal(n: int) -> str:
    """A place in words.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd', '113th']
    """
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{ending}"


def _larder(run: Path) -> Larder | None:
    if not (run / "prepare" / "histories.parquet").is_file():
        return None
    from llmrec.data.larder import Larder

    return Larder.read(run / "prepare")
