"""Candidates drawn uniformly: the target and items that the user has not touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrec.candidates.histories import whole_histories
from llmrec.columns import ITEMS, QUERY, SOURCE, TARGET, USER
from llmrec.errors import RankingFault
from llmrec.rng import rng_for

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

CANDIDATES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    QUERY: pl.Int64,
    ITEMS: pl.List(pl.Int32),
    SOURCE: pl.List(pl.String),
}


def uniform(queries: pl.DataFrame, larder: Larder, count: int, *, seed: int) -> pl.DataFrame:
    """Each query's target among `count` candidates; the others are drawn uniformly from what the user never touched.

    Returns query, items (in slot order) and source (`target` or `uniform`), in the queries' order. The target's slot
    and the others come from (seed, query) alone: another target of the same query, equally touched by the user, would
    stand in the same slot among the same others. Raises RankingFault when a user has left fewer than count - 1 items
    untouched. Read columns: query, user, target.
    """
    histories = whole_histories(larder)
    items, sources = [], []
    for query, user, target in queries.select(QUERY, USER, TARGET).iter_rows():
        rng = rng_for(seed, "candidates", query)
        slot = int(rng.integers(count))
        touched = np.zeros(larder.n_items, dtype=bool)
        touched[histories[user]] = True
        free = larder.n_items - int(touched.sum())
        if free < count - 1:
            raise RankingFault(
                f"candidates: user {user} has left {free} of {larder.n_items} items untouched, and candidates.count "
                f"needs {count - 1} beside the target. Lower candidates.count, or keep more items (data.min_item)."
            )
        others = first_free(uniform_stream(rng, larder.n_items), touched, count - 1)
        items.append([*others[:slot], target, *others[slot:]])
        sources.append(["uniform"] * slot + ["target"] + ["uniform"] * (count - 1 - slot))
    return pl.DataFrame({QUERY: queries[QUERY], ITEMS: items, SOURCE: sources}, schema=CANDIDATES_SCHEMA)


def uniform_stream(rng: np.random.Generator, n_items: int) -> Iterator[int]:
    """Items drawn uniformly, with repeats, without end."""
    size = 64
    while True:
        yield from rng.integers(n_items, size=size).tolist()
        size = min(2 * size, 1 << 16)


def first_free(stream: Iterator[int], taken: np.ndarray, count: int) -> list[int]:
    """The first `count` different items of the stream that are not taken: `taken` is (n_items,) bool.

    Only here is it known what the user has touched, the target included; the stream does not know. It must hold enough.
    """
    found: dict[int, None] = {}
    while len(found) < count:
        item = next(stream)
        if not taken[item]:
            found.setdefault(item)
    return list(found)
