"""One table on the scales: every ranker measured on the same queries, every pair compared."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from llmrec import metrics, target_sets
from llmrec.columns import ITEMS, QUERY, USER
from llmrec.evaluate.checks import Kind
from llmrec.evaluate.comparison import ALPHA, Comparison, compare
from llmrec.evaluate.composed import composed, retrieved
from llmrec.evaluate.per_query import Values, per_query
from llmrec.evaluate.resampling import Means, resample
from llmrec.evaluate.sentences import Scene, sentence


@dataclass(frozen=True)
class Weighed:
    """One table, measured."""

    scene: Scene
    primary: str
    """The metric that decides."""
    rows: pl.DataFrame
    """See `per_query`."""
    values: Values
    means: Means
    metrics: dict[str, Any]
    """The table's part of metrics.json."""
    comparisons: list[Comparison]
    said: list[dict[str, Any]]
    """The table's part of comparisons.json: each comparison with its sentence."""


def weigh(
    name: str,
    rankings: Mapping[str, list[pl.DataFrame]],
    queries: pl.DataFrame,
    candidates: pl.DataFrame | None,
    kind: Kind,
    *,
    at: list[int],
    primary: str,
    bootstrap: int,
    seed: int,
    trained: Collection[str] = (),
    targets: pl.DataFrame | None = None,
) -> Weighed:
    """Measures a table that has passed `llmrec.evaluate.checks`; `trained` rankers depend on a training seed.

    `candidates` holds exactly these queries; None for the full catalogue. `targets` (query, target) has
    every target where queries have several.
    """
    rows = per_query(name, rankings, queries, at, primary=primary, targets=targets)
    values = Values.of(rows)
    means = resample(values, resamples(values, bootstrap), seed=seed)
    sizes = candidates[ITEMS].list.len().to_numpy() if candidates is not None else None
    scene = Scene(
        name,
        int(sizes.max(initial=0)) if sizes is not None else None,
        kind == "injected",
        queries[USER].n_unique(),
        queries.height,
    )
    measured: dict[str, Any] = {"candidates": scene.candidates, "queries": scene.queries, "users": scene.users}
    if targets is not None:
        measured["targets"] = targets.height
    if candidates is not None and kind == "injected":
        measured["chance"] = _chance(means.metrics, candidates, targets)
    if candidates is not None and kind == "two-stage" and targets is None:
        measured["composed"] = composed(values, retrieved(candidates, queries), count=bootstrap, seed=seed)
    measured["rankers"] = {ranker: {m: means.interval(ranker, m) for m in means.metrics} for ranker in means.mean}
    measured["seeds"] = {ranker: len(seeds) for ranker, seeds in rankings.items()}
    comparisons = compare(values, means, primary, seed=seed)
    said = [{**asdict(c), "sentence": sentence(c, scene, trained)} for c in comparisons]
    return Weighed(scene, primary, rows, values, means, measured, comparisons, said)


def resamples(values: Values, asked: int) -> int:
    """How many resamples to draw: as many as were asked for, and enough for a comparison to pass its correction.

    Where a ranker has several seeds its p is at least the bootstrap's own, which is never below 2 / (resamples + 1);
    Holm multiplies the smallest by the number of pairs. With 66 pairs 2,000 resamples could tell no difference at all.

    >>> one, three = np.zeros((1, 5, 1)), np.zeros((3, 5, 1))
    >>> many = {"floor": one, **{f"arm {n}": three for n in range(11)}}
    >>> resamples(Values(np.arange(5), ["ndcg@10"], many), 2000)
    5280
    >>> resamples(Values(np.arange(5), ["ndcg@10"], {"floor": one, "arm": three}), 2000)
    2000
    """
    rankers = len(values.rankers)
    several = any(len(seeds) > 1 for seeds in values.rankers.values())
    return max(asked, math.ceil(2 * rankers * (rankers - 1) / ALPHA)) if several else asked


def _chance(names: list[str], candidates: pl.DataFrame, targets: pl.DataFrame | None) -> dict[str, float]:
    """What a ranker that knows nothing gets: all candidates of a query tied."""
    tied = candidates.select(QUERY, tied=pl.col(ITEMS).list.len().cast(pl.Int64))
    if targets is None:
        above = np.zeros(tied.height, dtype=np.int64)
        return {name: float(metrics.measure(name, above, tied["tied"]).mean()) for name in names}
    each = targets.join(tied, on=QUERY)
    groups = target_sets.Groups.of(np.zeros(each.height, dtype=np.int64), each["tied"], each[QUERY])
    return {name: float(target_sets.measure(name, groups).mean()) for name in names}
