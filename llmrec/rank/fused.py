"""Two rankers as one: a convex mix of standardised scores, its weight chosen on validation."""

from __future__ import annotations

import numpy as np
import polars as pl

from llmrec import metrics
from llmrec.columns import ITEM, QUERY, SCORE
from llmrec.errors import RankingFault
from llmrec.ranking import places, ranked

GRID = np.linspace(0, 1, 21)


def fused(
    language: pl.DataFrame, retriever: pl.DataFrame, weight: float, *, seed: int, name: str = "fused"
) -> pl.DataFrame:
    """`weight` x language + (1 - weight) x retriever, each standardised within the query's candidates.

    Both rankings list the same items; RankingFault if they do not. Standardised: less the query's mean, over its
    standard deviation; a constant list becomes zeros, and leaves the order to the other ranker.
    """
    both = language.select(QUERY, ITEM, a=pl.col(SCORE).cast(pl.Float64)).join(
        retriever.select(QUERY, ITEM, b=pl.col(SCORE).cast(pl.Float64)), on=[QUERY, ITEM], how="full", coalesce=True
    )
    alone = both.filter(pl.col("a").is_null() | pl.col("b").is_null())
    if alone.height:
        raise RankingFault(
            f"{name}: query {alone[QUERY][0]}, item {alone[ITEM][0]} is ranked by only one of the two sides."
        )

    def standard(column: str) -> pl.Expr:
        centred = pl.col(column) - pl.col(column).mean().over(QUERY)
        spread = pl.col(column).std(ddof=0).over(QUERY)
        return pl.when(spread > 0).then(centred / spread).otherwise(0.0)

    score = both.select(score=weight * standard("a") + (1 - weight) * standard("b"))["score"]
    return ranked(both[QUERY].to_numpy(), both[ITEM].to_numpy(), score.to_numpy(), ranker=name, seed=seed)


def chosen_weight(
    language: pl.DataFrame, retriever: pl.DataFrame, queries: pl.DataFrame, primary: str, *, seed: int
) -> tuple[float, dict[float, float]]:
    """The weight on a grid of 21 that is best by `primary` on these (validation) queries, and every weight's value.

    Equal values go to the weight nearest one half, which leans on neither side.
    """
    values = {
        round(float(w), 2): mean_metric(fused(language, retriever, float(w), seed=seed), queries, primary) for w in GRID
    }
    best = max(values, key=lambda w: (values[w], -abs(w - 0.5)))
    return best, values


def mean_metric(ranking: pl.DataFrame, queries: pl.DataFrame, metric: str) -> float:
    """Mean of `hit@k`, `ndcg@k` or `mrr@k` over the queries; a target that is not listed scores 0."""
    stands = places(ranking, queries)
    above = stands["above"].fill_null(-1).to_numpy()
    tied = stands["tied"].fill_null(1).to_numpy()
    return float(metrics.measure(metric, above, tied).mean())
