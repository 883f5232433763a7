"""Candidates that a ranker retrieved: the second stage reranks them, and a target that is not among them is a miss.

`two_stage` cuts the first n out of a ranking; `completed` puts them back, reranked, above the rest.
"""

from __future__ import annotations

import polars as pl

from llmrec.candidates.uniform import CANDIDATES_SCHEMA
from llmrec.columns import ITEM, ITEMS, QUERY, RANK, RANKER, SCORE, SOURCE
from llmrec.ranking import ranked
from llmrec.rng import rng_for


def two_stage(ranking: pl.DataFrame, n: int, *, seed: int) -> pl.DataFrame:
    """The first `n` items of each query's ranking, in an order drawn from (seed, query), with source `retrieved`.

    The order is drawn because a reranker that reads the list, or breaks its ties by place, would otherwise inherit the
    retriever's ranking. Targets are not put in. Queries come back in ascending order; a query that ranks fewer keeps
    them all. Read columns: query, item, rank.
    """
    first = ranking.filter(pl.col(RANK) <= n).sort(QUERY, RANK).group_by(QUERY, maintain_order=True).agg(ITEM)
    items = [rng_for(seed, "two_stage", query).permutation(listed).tolist() for query, listed in first.iter_rows()]
    sources = [["retrieved"] * len(listed) for listed in items]
    return pl.DataFrame({QUERY: first[QUERY], ITEMS: items, SOURCE: sources}, schema=CANDIDATES_SCHEMA)


def completed(reranked: pl.DataFrame, ranking: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """The whole system's ranking: what was reranked, in its new order, then what `ranking` lists beside it, in its own.

    At depths up to n it says what the reranked list alone says, and beyond them it goes on as the retriever does, which
    is what a user would be shown. Ties stay ties. Scores are minus the place, counted without gaps: those of two
    rankers have no common scale. The ranker is that of `reranked`. Read columns: query, item, score, ranker.
    """
    head = reranked.select(QUERY, ITEM, SCORE, below=False)
    rest = ranking.select(QUERY, ITEM, SCORE, below=True).join(head, on=[QUERY, ITEM], how="anti")
    place = pl.struct("below", -pl.col(SCORE)).rank("dense").over(QUERY)
    both = pl.concat([head, rest]).select(QUERY, ITEM, score=-place.cast(pl.Float64))
    query, item, score = (both[name].to_numpy() for name in both.columns)
    return ranked(query, item, score, ranker=reranked[RANKER].item(0), seed=seed)
