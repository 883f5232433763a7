"""Two stages as one system: how much the retriever leaves to its rerankers, and how much of that each one takes.

A target that was not retrieved is a miss for every reranker, so no mean of hit, NDCG or MRR exceeds the share of
queries whose target was retrieved: the recall ceiling. And as what is missed scores 0, a mean over all queries is the
ceiling times the mean over the queries whose target was retrieved. That mean, which LlamaRec prints as "valid
retrieval" (Yue et al. 2023, arXiv:2311.02089), is therefore the share of the ceiling that a ranker captures, and by
itself it says nothing of the whole: a retriever that finds one easy target makes it 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import ITEMS, QUERY, TARGET
from llmrec.evaluate.per_query import Values
from llmrec.evaluate.resampling import resample


def retrieved(candidates: pl.DataFrame, queries: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each query's candidates hold its target, in the order of `queries`; one without candidates has none.

    Reads query, items of the candidates and query, target of the queries.
    """
    held = queries.select(QUERY, TARGET).join(
        candidates.select(QUERY, ITEMS), on=QUERY, how="left", maintain_order="left"
    )
    return held.select(pl.col(ITEMS).list.contains(pl.col(TARGET)).fill_null(False)).to_series().to_numpy()


def composed(values: Values, found: npt.NDArray[np.bool_], *, count: int, seed: int) -> dict[str, Any]:
    """{"retrieved": queries, "ceiling": share, "rankers": {ranker: {metric: {"mean", "low", "high"}}}}.

    `values` are those of a two-stage table and `found` (queries,) says whose target was retrieved. A ranker's metrics
    are means over these queries alone: shares of the ceiling, with intervals from `count` resamples of their users.
    They are empty where nothing was retrieved.
    """
    rankers: dict[str, Any] = {}
    if found.any():
        part = values.only(found)
        means = resample(part, count, seed=seed)
        rankers = {ranker: {m: means.interval(ranker, m) for m in part.metrics} for ranker in part.rankers}
    ceiling = float(found.mean()) if len(found) else 0.0
    return {"retrieved": int(found.sum()), "ceiling": ceiling, "rankers": rankers}
