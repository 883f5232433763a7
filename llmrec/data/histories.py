"""Histories: each user's interactions in order of time, equal times in order of the file.

histories   user: i32, items: list[i32] oldest first, times: list[i64] or null, train: i32 (added by `splits`)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from llmrec.columns import ITEM, ITEMS, KEY, TIME, TIMES, USER
from llmrec.data.dropped import Dropped
from llmrec.data.readers import LINE
from llmrec.errors import DataFault
from llmrec.rng import rng_for


def in_order(table: pl.DataFrame) -> pl.DataFrame:
    """Interactions by user, then time, then line in the file. Reads user, time, line."""
    return table.sort(USER, TIME, LINE, maintain_order=True)


def without_repeats(
    ordered: pl.DataFrame, policy: Literal["keep", "first", "last"], *, file: str, dropped: Dropped
) -> pl.DataFrame:
    """Of a user's meetings with one item, the first or the last in time, or all. Reads user, item, line; keeps order."""
    if policy == "keep":
        return ordered
    pair = pl.struct(USER, ITEM)
    stays = pair.is_first_distinct() if policy == "first" else pair.is_last_distinct()
    marked = ordered.with_columns(stays.alias("stays"))
    dropped.add(file, marked.filter(~pl.col("stays")), f"the same item again (duplicates: {policy})")
    return marked.filter("stays").drop("stays")


def core(table: pl.DataFrame, *, min_user: int, min_item: int, file: str, dropped: Dropped) -> pl.DataFrame:
    """The k-core: users and items below their minimum go, again and again, until none is. Reads user, item, line.

    Raises DataFault where nothing is left, or one user only: there would be nobody to tell apart.
    """
    users = table[USER].rank("dense").to_numpy().astype(np.int64) - 1
    items = table[ITEM].rank("dense").to_numpy().astype(np.int64) - 1
    stays = np.ones(len(users), dtype=bool)
    active = int(np.bincount(users).max(initial=0))
    size = len(users) + 1
    before = -1
    while before != (before := int(stays.sum())):
        for side, least, word in ((users, min_user, "a user"), (items, min_item, "an item")):
            low = stays & (np.bincount(side[stays], minlength=size)[side] < least)
            dropped.add(file, table.filter(low), f"{word} with fewer than {least} interactions")
            stays &= ~low
    kept = table.filter(stays)
    left = kept[USER].n_unique()
    if left == 0:
        raise DataFault(
            f"{file}: nothing is left of {table.height:,} interactions by {table[USER].n_unique():,} users with "
            f"data.min_user {min_user} and data.min_item {min_item} (the most active user has {active:,}). Lower them."
        )
    if left == 1:
        raise DataFault(
            f"{file}: only one user is left ({kept[USER][0]!r}, {kept.height:,} interactions); comparing rankers takes at "
            f"least two. Is the user column the right one? Left out so far: {dropped.words()}."
        )
    return kept


def codes(keys: pl.Series, *, seed: int, purpose: str) -> pl.DataFrame:
    """A code for each distinct key, in seeded random order: key, code: i32.

    The codes depend on the seed and on the set of keys, never on the order of rows: codes in order of first appearance
    would tell a model which item comes next.
    """
    distinct = keys.unique().sort()
    drawn = rng_for(seed, "codes", purpose).permutation(len(distinct)).astype(np.int32)
    return pl.DataFrame({KEY: distinct, "code": drawn})


def histories(ordered: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """One row a user, by code: user, items, times. Reads user, item, time (keys, in order), and the two code tables."""
    coded = (
        ordered.select(USER, ITEM, TIME)
        .join(users.rename({KEY: USER, "code": "u"}), on=USER, how="left", maintain_order="left")
        .join(items.rename({KEY: ITEM, "code": "i"}), on=ITEM, how="left", maintain_order="left")
    )
    timed = coded[TIME].null_count() == 0
    grouped = coded.group_by("u", maintain_order=True).agg(pl.col("i").alias(ITEMS), pl.col(TIME).alias(TIMES))
    if not timed:
        grouped = grouped.with_columns(pl.lit(None, pl.List(pl.Int64)).alias(TIMES))
    return grouped.rename({"u": USER}).select(USER, ITEMS, TIMES).sort(USER)
