"""What must hold before anything is compared: the same queries, the same candidates, one table at a time.

Every check raises RankingFault that names the table, the ranker and the first query at fault, by its owner's ids where
`names` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from llmrec.columns import ITEM, ITEMS, KEY, QUERY, RANK, SCORE, SOURCE, TARGET, USER
from llmrec.errors import RankingFault
from llmrec.evaluate.lists import keys_of

Kind = Literal["catalogue", "injected", "two-stage"]


@dataclass(frozen=True)
class Names:
    """What the owner of some tables calls their queries, users and items; codes where nobody says."""

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """`query`, `user` or `item` -> a table with that column and key."""

    def of(self, column: str, code: int) -> str:
        """The owner's word for a code."""
        table = self.tables.get(column)
        found = [] if table is None else table.filter(pl.col(column) == code)[KEY].to_list()
        return str(found[0]) if found else str(code)

    def first(self, table: pl.DataFrame, column: str) -> str:
        """The owner's word for the query, user, item or target in the first row of a table."""
        return self.of(ITEM if column == TARGET else column, table[column][0])


CODES = Names()


def check_asked(queries: pl.DataFrame, *, where: str) -> None:
    """There must be a question."""
    if not queries.height:
        raise RankingFault(
            f"{where}: there is no test query. Prepare the run anew with a split that leaves some (a lower "
            "split.quantile, a lower data.min_user), or give other queries."
        )


def check_candidates(candidates: pl.DataFrame, queries: pl.DataFrame, *, where: str, names: Names = CODES) -> Kind:
    """The candidates of exactly these queries: "injected" where the target is always one of them, else "two-stage".

    Reads query, items, source of the candidates and query, target of the queries.
    """
    _same_queries(candidates, queries, where=where, ranker="the candidate table", names=names)
    repeated = candidates.filter(pl.col(ITEMS).list.n_unique() != pl.col(ITEMS).list.len())
    if repeated.height:
        raise RankingFault(
            f"{where}: {repeated.height:,} candidate sets hold an item twice, first that of query "
            f"{names.first(repeated, QUERY)}. Offer each item once."
        )
    joined = queries.select(QUERY, TARGET).join(candidates.select(QUERY, ITEMS, SOURCE), on=QUERY)
    named = joined[SOURCE].list.contains("target")
    if not named.any():
        return "two-stage"
    hidden = joined.filter(~pl.col(ITEMS).list.contains(pl.col(TARGET)) | ~named)
    if hidden.height:
        raise RankingFault(
            f"{where}: {hidden.height:,} of {joined.height:,} candidate sets lack the target, first for query "
            f"{names.first(hidden, QUERY)}, target {names.first(hidden, TARGET)}. Either "
            "every set holds its target or none is given it."
        )
    return "injected"


def check_rankings(
    rankings: dict[str, list[pl.DataFrame]],
    queries: pl.DataFrame,
    candidates: pl.DataFrame | None,
    *,
    where: str,
    names: Names = CODES,
) -> None:
    """Every ranker ranks these queries, finitely, each item once; and in a candidate table exactly its candidates."""
    if not rankings or not all(rankings.values()):
        raise RankingFault(f"{where}: no rankings to compare.")
    offered = None
    if candidates is not None:
        offered = candidates.select(QUERY, pl.col(ITEMS).alias(ITEM)).explode(ITEM)
        wanted = np.sort(keys_of(offered, queries))
    for ranker, seeds in rankings.items():
        for number, ranking in enumerate(seeds):
            name = f"`{ranker}`" if len(seeds) == 1 else f"`{ranker}` (seed {number})"
            check_ranking(ranking, queries, where=where, ranker=name, names=names)
            if offered is not None and not np.array_equal(np.sort(keys_of(ranking, queries)), wanted):
                _tell_candidates_apart(ranking, offered, where=where, ranker=name, names=names)


def check_ranking(
    ranking: pl.DataFrame, queries: pl.DataFrame, *, where: str, ranker: str, names: Names = CODES
) -> None:
    """One ranking: finite scores, an item once a query, no query missing, and ranks in the order of the scores."""
    bad = ranking.filter(~pl.col(SCORE).is_finite() | pl.col(SCORE).is_null())
    if bad.height:
        raise RankingFault(
            f"{where}: {bad.height:,} scores of {ranker} are not finite, first for query "
            f"{names.first(bad, QUERY)}, item {names.first(bad, ITEM)} ({bad[SCORE][0]}). A ranking "
            "needs finite scores."
        )
    _same_queries(ranking, queries, where=where, ranker=ranker, names=names)
    if not np.diff(np.sort(keys_of(ranking, queries))).all():
        twice = ranking.filter(pl.struct(QUERY, ITEM).is_duplicated())
        raise RankingFault(
            f"{where}: {twice.height:,} rows of {ranker} list an item again, first item "
            f"{names.first(twice, ITEM)} for query {names.first(twice, QUERY)}. List each item once for a query."
        )
    _ranks_agree(ranking, where=where, ranker=ranker, names=names)


def _same_queries(table: pl.DataFrame, queries: pl.DataFrame, *, where: str, ranker: str, names: Names) -> None:
    missing = queries.join(table.select(QUERY).unique(), on=QUERY, how="anti", maintain_order="left")
    if missing.height:
        raise RankingFault(
            f"{where}: {ranker} ranks {queries.height - missing.height:,} queries of {queries.height:,}; the first "
            f"missing is query {names.first(missing, QUERY)} of user {names.first(missing, USER)}. "
            "Rank the same queries to compare them."
        )
    extra = table.select(QUERY).unique(maintain_order=True).join(queries, on=QUERY, how="anti", maintain_order="left")
    if extra.height:
        raise RankingFault(
            f"{where}: {ranker} ranks {extra.height:,} queries that nobody asked, first query "
            f"{names.first(extra, QUERY)}. Rank the same queries to compare them."
        )


def _ranks_agree(ranking: pl.DataFrame, *, where: str, ranker: str, names: Names) -> None:
    """Metrics go by score and lists are cut by rank: where the two disagree, each tells of another ranking."""
    query, rank, score = (ranking[column].to_numpy() for column in (QUERY, RANK, SCORE))
    same = query[1:] == query[:-1]
    if (same & (rank[1:] <= rank[:-1])).any() or (query[1:] < query[:-1]).any():
        order = np.lexsort((rank, query))
        ranking, query, rank, score = ranking[order], query[order], rank[order], score[order]
        same = query[1:] == query[:-1]
    climbs, shared = score[1:] > score[:-1], rank[1:] == rank[:-1]
    torn = np.flatnonzero(same & (climbs | (shared & (score[1:] != score[:-1])))) + 1
    if len(torn):
        row = ranking.row(int(torn[0]), named=True)
        raise RankingFault(
            f"{where}: {len(torn):,} ranks of {ranker} disagree with its scores, first for query "
            f"{names.of(QUERY, row[QUERY])}: item {names.of(ITEM, row[ITEM])} (rank {row[RANK]}) "
            f"scores {row[SCORE]:g}, and the item before it {score[torn[0] - 1]:g}. "
            "Write ranks from 1 in the order of the scores."
        )


def _tell_candidates_apart(
    ranking: pl.DataFrame, offered: pl.DataFrame, *, where: str, ranker: str, names: Names
) -> None:
    """Raises RankingFault that names the first candidate that was left out, or the first item that was none."""
    ranked = ranking.select(QUERY, ITEM)
    dropped = offered.join(ranked, on=[QUERY, ITEM], how="anti", maintain_order="left")
    if dropped.height:
        raise RankingFault(
            f"{where}: {ranker} leaves out {dropped.height:,} candidates, first item "
            f"{names.first(dropped, ITEM)} for query {names.first(dropped, QUERY)}. Rank every candidate "
            "to compare on them."
        )
    foreign = ranked.join(offered, on=[QUERY, ITEM], how="anti", maintain_order="left")
    if foreign.height:
        raise RankingFault(
            f"{where}: {ranker} ranks {foreign.height:,} items that were not candidates, first item "
            f"{names.first(foreign, ITEM)} for query {names.first(foreign, QUERY)}. A candidate table and "
            "a ranking of the catalogue are never mixed."
        )
