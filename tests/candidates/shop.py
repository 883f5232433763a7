"""A video shop as small as a test needs: who borrowed what, and what stands on the shelves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from llmrec.columns import COUNT, FOLD, ITEM, ITEMS, KEY, POSITION, QUERY, TARGET, TEXT, TIME, TIMES, TRAIN, USER
from llmrec.data.larder import DECLINED_SCHEMA, Larder
from llmrec.ranking import QUERIES_SCHEMA


def shop(
    borrowed: Sequence[Sequence[int]], films: int | Sequence[str], *, counts: Sequence[int] | None = None
) -> Larder:
    """One customer an entry of `borrowed` (films by code, oldest first); `films` are titles, or how many there are."""
    titles = [f"Film {code}" for code in range(films)] if isinstance(films, int) else list(films)
    lists = [list(codes) for codes in borrowed]
    histories = pl.DataFrame(
        {
            USER: list(range(len(lists))),
            ITEMS: lists,
            TIMES: [list(range(len(codes))) for codes in lists],
            TRAIN: [max(len(codes) - 2, 0) for codes in lists],
        },
        schema={USER: pl.Int32, ITEMS: pl.List(pl.Int32), TIMES: pl.List(pl.Int64), TRAIN: pl.Int32},
    )
    catalogue = pl.DataFrame(
        {
            ITEM: list(range(len(titles))),
            KEY: [f"f{code}" for code in range(len(titles))],
            TEXT: titles,
            COUNT: list(counts) if counts is not None else [1] * len(titles),
        },
        schema={ITEM: pl.Int32, KEY: pl.String, TEXT: pl.String, COUNT: pl.Int64},
    )
    users = pl.DataFrame({USER: range(len(lists)), KEY: [f"u{n}" for n in range(len(lists))]})
    return Larder(histories, catalogue, asked([(n, n, codes, -1) for n, codes in enumerate(lists)]), users)


def asked(rows: Sequence[tuple[int, int, Sequence[int], int]], fold: str = "test") -> pl.DataFrame:
    """Queries from (query, user, the user's films, position of the target; -1 is the last)."""
    return pl.DataFrame(
        {
            QUERY: [query for query, *_ in rows],
            USER: [user for _, user, *_ in rows],
            POSITION: [place % len(codes) for *_, codes, place in rows],
            TIME: [None] * len(rows),
            TARGET: [codes[place] for *_, codes, place in rows],
            FOLD: [fold] * len(rows),
        },
        schema=QUERIES_SCHEMA,
    )


def at_home(larder: Larder, **columns: Sequence[Sequence[object]]) -> Larder:
    """The shop whose customers' lists have more beside them: ratings, behaviours, times (days as seconds), train."""
    kinds = {
        "items": pl.List(pl.Int32),
        "ratings": pl.List(pl.Float32),
        "behaviours": pl.List(pl.UInt8),
        "times": pl.List(pl.Int64),
    }
    more = [pl.Series(name, list(values), dtype=kinds.get(name, pl.Int32)) for name, values in columns.items()]
    return replace(larder, histories=larder.histories.with_columns(more))


def declining(larder: Larder, rows: Sequence[tuple[int, int, int | None, str, float | None]]) -> Larder:
    """The shop that also kept what was passed over: (customer, film, time, reason, rating)."""
    return replace(larder, declined=pl.DataFrame(list(rows), schema=DECLINED_SCHEMA, orient="row"))
