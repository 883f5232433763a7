"""Histories: each user's interactions in order of time, equal times in order of the file.

histories   user: i32, items: list[i32] oldest first, times: list[i64] or null, train: i32 (added by `splits`), and,
            where the data have them, ratings: list[f32] and behaviours: list[u8], places in `data.behaviours`
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa

from llmrec.columns import ITEM, KEY, TIME, TIMES, USER
from llmrec.data.readers import LINE
from llmrec.rng import rng_for


def in_lists(flat: pl.Series | pa.Array, starts: np.ndarray) -> pl.Series:
    """The values as lists, one behind another, without a copy: row n is flat[starts[n]:starts[n + 1]].

    >>> in_lists(pl.Series([1, 2, 3]), np.array([0, 2, 2, 3])).to_list()
    [[1, 2], [], [3]]
    """
    values = flat.to_arrow() if isinstance(flat, pl.Series) else flat
    return pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(starts, type=pa.int64()), values)))


def in_order(table: pl.DataFrame) -> pl.DataFrame:
    """Interactions by user, then time, then line in the file. Reads user, time, line."""
    return table.sort(USER, TIME, LINE)


def stays(ordered: pl.DataFrame, policy: Literal["keep", "first", "last"], targets: np.ndarray | None) -> pl.Series:
    """Which rows stay when a user meets an item again: the first or the last in time, or all (bool, a row each).

    Reads user and item, as u32. `targets` says which rows have a target behaviour: an item that a user ever took with
    one keeps such a row only, or a view before the purchase would stand in the history of whoever is asked for it.
    """
    if policy == "keep":
        return pl.repeat(True, ordered.height, eager=True)
    pairs = ordered.select(pl.col(USER).cast(pl.UInt64) * (1 << 32) + pl.col(ITEM).cast(pl.UInt64)).to_series()
    once = pl.Series.is_first_distinct if policy == "first" else pl.Series.is_last_distinct
    if targets is None:
        return once(pairs)
    taken = pl.Series(targets)
    asked = taken | ~pairs.is_in(pairs.filter(taken).unique().implode())
    stay = np.zeros(len(pairs), dtype=bool)
    stay[asked.to_numpy()] = once(pairs.filter(asked)).to_numpy()
    return pl.Series(stay)


def codes(keys: pl.Series, *, seed: int, purpose: str) -> pl.DataFrame:
    """A code for each distinct key, in seeded random order: key, code: i32.

    The codes depend on the seed and on the set of keys, never on the order of rows: codes in order of first appearance
    would tell a model which item comes next.
    """
    distinct = keys.unique().sort()
    drawn = rng_for(seed, "codes", purpose).permutation(len(distinct)).astype(np.int32)
    return pl.DataFrame({KEY: distinct, "code": drawn})


def time_unit(histories: pl.DataFrame) -> Literal["s", "ms", "us", "ns"] | None:
    """What the histories' times count, by the size of a typical one since 1970; None without times.

    >>> time_unit(pl.DataFrame({"times": [[1_700_000_000_000], [1_700_000_000_500]]}))
    'ms'
    """
    if not histories.height or histories[TIMES].null_count():
        return None
    typical = abs(float(np.median(histories[TIMES].explode().to_numpy())))
    return "s" if typical < 1e11 else "ms" if typical < 1e14 else "us" if typical < 1e17 else "ns"
