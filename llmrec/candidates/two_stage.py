"""Candidates that a ranker retrieved: the second stage reranks them, and a target that is not among them is a miss."""

from __future__ import annotations

import polars as pl

from llmrec.candidates.uniform import CANDIDATES_SCHEMA
from llmrec.columns import ITEM, ITEMS, QUERY, RANK, SOURCE
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
