"""How deep lists go: what a ranker does not list counts as missed, and where a list was cut off nobody missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import QUERY
from llmrec.errors import RankingFault
from llmrec.metrics import split_name
from llmrec.progress import note

AT, PRIMARY = (1, 5, 10, 20), "ndcg@10"
Ints = npt.NDArray[np.int64]


def settled(
    rankings: Mapping[str, Sequence[pl.DataFrame]],
    queries: pl.DataFrame,
    left: Ints,
    at: Sequence[int] | None,
    primary: str | None,
    *,
    own_at: Sequence[int] = AT,
    own_primary: str = PRIMARY,
) -> tuple[list[int], str]:
    """Depths and the metric that decides, none deeper than most lists of the shallowest ranker go.

    `left` is how many items there were to rank for each query: a list of all of them is whole at any depth. `at` and
    `primary` are what somebody asked for: a RankingFault where they go too deep. Where nobody asked, `own_at` and
    `own_primary` are cut off there, and a note says so. Rankers with a few shorter lists are noted, too.
    """
    depth = max([*(at or ()), *([split_name(primary)[1]] if primary else [])], default=0)
    lengths = {ranker: [_lengths(ranking, queries) for ranking in seeds] for ranker, seeds in rankings.items()}
    reach = {ranker: min(_reach(length, left) for length in seeds) for ranker, seeds in lengths.items()}
    shallow = min(reach, key=lambda ranker: reach[ranker])
    end = reach[shallow]
    if depth > end:
        short = max(_short(length, left, depth) for length in lengths[shallow])
        raise RankingFault(
            f"compare: `{shallow}` lists fewer than {depth:,} items for {short:,} of {queries.height:,} queries ({end} "
            f"for most), and there are more to rank: what was cut off would count as missed. Measure at {end} or less "
            f"(--at and --primary), or let every ranker list {depth:,}."
        )
    metric, deepest = split_name(primary or own_primary)
    chosen = sorted({*(at or [k for k in own_at if k <= end]), min(deepest, end)})
    if (not primary and deepest > end) or (not at and max(own_at, default=0) > end):
        note(
            f"compare: `{shallow}` lists {end} items for most queries, so nothing is measured deeper: depths "
            f"{', '.join(map(str, chosen))}, {metric}@{min(deepest, end)} decides"
        )
    for ranker, seeds in lengths.items():
        short = max(_short(length, left, chosen[-1]) for length in seeds)
        if short:
            note(
                f"compare: `{ranker}` lists fewer than {chosen[-1]} items for {short:,} of {queries.height:,} queries; "
                "what it does not list there counts as missed"
            )
    return chosen, f"{metric}@{min(deepest, end)}"


def _lengths(ranking: pl.DataFrame, queries: pl.DataFrame) -> Ints:
    counts = queries.select(QUERY).join(ranking.group_by(QUERY).len(), on=QUERY, how="left", maintain_order="left")
    return counts["len"].fill_null(0).to_numpy().astype(np.int64)


def _short(lengths: Ints, left: Ints, depth: int) -> int:
    """Lists that end before a depth and before there is nothing left."""
    return int((lengths < np.minimum(depth, left)).sum())


def _reach(lengths: Ints, left: Ints) -> int:
    """The depth that at least half of the lists go to; whole lists go to any."""
    ends = np.sort(np.where(lengths >= left, np.iinfo(np.int64).max, lengths))
    return int(ends[len(ends) // 2])
