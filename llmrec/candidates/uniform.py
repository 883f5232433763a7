"""Candidates drawn uniformly: the target and items that the user has not touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrec.candidates.histories import whole_histories
from llmrec.columns import ITEMS, QUERY, SOURCE, TARGET, USER
from llmrec.data.histories import in_lists
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
    items = np.empty((queries.height, count), dtype=np.int32)
    slots = np.empty(queries.height, dtype=np.int64)
    touched = np.zeros(larder.n_items, dtype=bool)  # one for all queries, wiped after each: a new one costs as much
    for row, (query, user, target) in enumerate(queries.select(QUERY, USER, TARGET).iter_rows()):
        rng = rng_for(seed, "candidates", query)
        slot = int(rng.integers(count))
        mine = histories[user]
        touched[mine] = True
        if larder.n_items - len(mine) < count - 1:  # an item may stand in a history twice, and counts once
            free = larder.n_items - int(touched.sum())
            if free < count - 1:
                raise RankingFault(
                    f"candidates: user {user} has left {free} of {larder.n_items} items untouched, and "
                    f"candidates.count needs {count - 1} beside the target. Lower candidates.count, or keep more items "
                    "(data.min_item)."
                )
        others = _free(rng, touched, count - 1)
        items[row, :slot], items[row, slot], items[row, slot + 1 :] = others[:slot], target, others[slot:]
        slots[row] = slot
        touched[mine] = False
    source = (np.arange(count) == slots[:, None]).astype(np.uint8).ravel()
    words = pl.Series(["uniform", "target"]).gather(source)
    starts = np.arange(queries.height + 1) * count
    table = {QUERY: queries[QUERY], ITEMS: in_lists(pl.Series(items.ravel()), starts), SOURCE: in_lists(words, starts)}
    return pl.DataFrame(table, schema=CANDIDATES_SCHEMA)


def _free(rng: np.random.Generator, touched: np.ndarray, count: int) -> list[int]:
    """The first `count` different items of `uniform_stream` that are not touched: `touched` is (n_items,) bool.

    Only here is it known what the user has touched, the target included; the stream does not know. It must hold enough.
    """
    found: dict[int, None] = {}
    for drawn in _blocks(rng, len(touched)):
        found.update(dict.fromkeys(drawn[~touched[drawn]].tolist()))
        if len(found) >= count:
            break
    return list(found)[:count]


def uniform_stream(rng: np.random.Generator, n_items: int) -> Iterator[int]:
    """Items drawn uniformly, with repeats, without end."""
    for drawn in _blocks(rng, n_items):
        yield from drawn.tolist()


def _blocks(rng: np.random.Generator, n_items: int) -> Iterator[np.ndarray]:
    """The same, each block twice as long as the one before."""
    size = 64
    while True:
        yield rng.integers(n_items, size=size)
        size = min(2 * size, 1 << 16)
