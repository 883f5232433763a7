"""A lending library: who borrowed which book on which day."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from llmrec.columns import COUNT, FOLD, ITEM, ITEMS, KEY, POSITION, QUERY, TARGET, TEXT, TIME, TIMES, TRAIN, USER
from llmrec.data.larder import Larder
from llmrec.ranking import QUERIES_SCHEMA

DAY = 86_400


def library(borrowed: Sequence[Sequence[int]], books: int, *, days: Sequence[Sequence[int]] | None = None) -> Larder:
    """One reader an entry of `borrowed` (books by code, oldest first): the last is asked for, the rest is training.

    `days` say when each was borrowed; without them the library kept no dates.
    """
    times = [None] * len(borrowed) if days is None else [[day * DAY for day in row] for row in days]
    readers = list(range(len(borrowed)))
    histories = pl.DataFrame(
        {USER: readers, ITEMS: [list(b) for b in borrowed], TIMES: times, TRAIN: [len(b) - 1 for b in borrowed]},
        schema={USER: pl.Int32, ITEMS: pl.List(pl.Int32), TIMES: pl.List(pl.Int64), TRAIN: pl.Int32},
    )
    catalogue = pl.DataFrame(
        {ITEM: range(books), KEY: [f"b{b}" for b in range(books)], TEXT: [f"Book {b}" for b in range(books)], COUNT: 1},
        schema={ITEM: pl.Int32, KEY: pl.String, TEXT: pl.String, COUNT: pl.Int64},
    )
    queries = pl.DataFrame(
        {
            QUERY: [100 + reader for reader in readers],
            USER: readers,
            POSITION: [len(b) - 1 for b in borrowed],
            TIME: [None if row is None else row[-1] for row in times],
            TARGET: [b[-1] for b in borrowed],
            FOLD: "test",
        },
        schema=QUERIES_SCHEMA,
    )
    users = pl.DataFrame({USER: readers, KEY: [f"r{reader}" for reader in readers]})
    return Larder(histories, catalogue, queries, users)


def offered(larder: Larder, *lists: Sequence[int]) -> pl.DataFrame:
    """A candidates table: one list a query of the larder."""
    return pl.DataFrame(
        {QUERY: larder.queries[QUERY], ITEMS: [list(items) for items in lists]},
        schema={QUERY: pl.Int64, ITEMS: pl.List(pl.Int32)},
    )
