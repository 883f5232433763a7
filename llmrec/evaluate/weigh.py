"""One table on the scales: every ranker measured on the same queries, every pair compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from llmrec import metrics
from llmrec.columns import ITEM, ITEMS, RANK, USER
from llmrec.evaluate.checks import Kind
from llmrec.evaluate.comparison import Comparison, compare
from llmrec.evaluate.per_query import Values, per_query
from llmrec.evaluate.resampling import Means, resample
from llmrec.evaluate.sentences import Scene, sentence


@dataclass(frozen=True)
class Weighed:
    """One table, measured."""

    scene: Scene
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
) -> Weighed:
    """Measures a table that has passed `llmrec.evaluate.checks`; `trained` rankers depend on a training seed.

    `candidates` holds exactly these queries; None for the full catalogue.
    """
    rows = per_query(name, dict(rankings), queries, at)
    values = Values.of(rows)
    means = resample(values, bootstrap, seed=seed)
    sizes = candidates[ITEMS].list.len().to_numpy() if candidates is not None else None
    scene = Scene(
        name,
        int(sizes.max(initial=0)) if sizes is not None else None,
        kind == "injected",
        queries[USER].n_unique(),
        queries.height,
    )
    measured: dict[str, Any] = {"candidates": scene.candidates, "queries": scene.queries, "users": scene.users}
    if sizes is not None and kind == "injected":
        nowhere = np.zeros_like(sizes, dtype=np.int64)
        measured["chance"] = {m: float(metrics.measure(m, nowhere, sizes).mean()) for m in means.metrics}
    measured["rankers"] = {ranker: {m: means.interval(ranker, m) for m in means.metrics} for ranker in means.mean}
    measured["seeds"] = {ranker: len(seeds) for ranker, seeds in rankings.items()}
    comparisons = compare(values, means, primary, seed=seed)
    said = [{**asdict(c), "sentence": sentence(c, scene, trained)} for c in comparisons]
    return Weighed(scene, rows, values, means, measured, comparisons, said)


def coverage(seeds: list[pl.DataFrame], at: list[int], n_items: int) -> dict[str, float]:
    """The share of the catalogue that stands among anyone's first k, averaged over training seeds.

    It is a fact about all users at once, not a mean over queries, so it has no interval.
    """
    covered = {}
    for k in sorted(set(at)):
        shares = [ranking.filter(pl.col(RANK) <= k)[ITEM].n_unique() / n_items for ranking in seeds]
        covered[f"coverage@{k}"] = sum(shares) / len(shares)
    return covered
