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

NUMBERS = {USER: "user number", ITEM: "item number"}  # places of the keys in sorted order: cheaper to compare than text


def in_order(table: pl.DataFrame) -> pl.DataFrame:
    """Interactions by user, then time, then line in the file. Reads user, item, time, line; adds the keys' numbers."""
    for name, number in NUMBERS.items():
        keys = table.select(pl.col(name).unique().sort()).with_row_index(number)
        table = table.join(keys, on=name, how="left", maintain_order="left")
    return table.sort(NUMBERS[USER], TIME, LINE)


def without_repeats(
    ordered: pl.DataFrame, policy: Literal["keep", "first", "last"], *, file: str, dropped: Dropped
) -> pl.DataFrame:
    """Of a user's meetings with one item, the first or the last in time, or all of them. Keeps the order."""
    if policy == "keep":
        return ordered
    pair = pl.struct(*NUMBERS.values())
    stays = pair.is_first_distinct() if policy == "first" else pair.is_last_distinct()
    marked = ordered.with_columns(stays.alias("stays"))
    dropped.add(file, marked.filter(~pl.col("stays")), f"the same item again (duplicates: {policy})")
    return marked.filter("stays").drop("stays")


def core(ordered: pl.DataFrame, *, min_user: int, min_item: int, file: str, dropped: Dropped) -> pl.DataFrame:
    """The k-core: users and items below their minimum go, again and again, until none is. Keeps the order.

    Raises DataFault where nothing is left, or one user only: there would be nobody to tell apart.
    """
    users, items = (ordered[number].to_numpy() for number in NUMBERS.values())
    stays = np.ones(len(users), dtype=bool)
    most = int(np.bincount(users).max(initial=0))
    before = -1
    while before != (before := int(stays.sum())):
        for side, least, word in ((users, min_user, "a user"), (items, min_item, "an item")):
            counts = np.bincount(side[stays], minlength=int(side.max(initial=0)) + 1)
            low = stays & (counts[side] < least)
            dropped.add(file, ordered.filter(low), f"{word} with fewer than {least} interactions")
            stays &= ~low
    kept = ordered.filter(stays)
    left = kept[USER].n_unique()
    if left == 0:
        raise DataFault(
            f"{file}: nothing is left of {ordered.height:,} interactions by {ordered[USER].n_unique():,} users with "
            f"data.min_user={min_user} and data.min_item={min_item} (the most active user has {most:,}). Lower them."
        )
    if left == 1:
        raise DataFault(
            f"{file}: only one user is left, {kept[USER][0]!r} with {kept.height:,} interactions; it takes two "
            f"to compare rankers. Is it the right column? Left out: {dropped.words()}."
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
    grouped = coded.group_by("u", maintain_order=True).agg(pl.col("i").alias(ITEMS), pl.col(TIME).alias(TIMES))
    if coded[TIME].null_count():
        grouped = grouped.with_columns(pl.lit(None, pl.List(pl.Int64)).alias(TIMES))
    return grouped.select(pl.col("u").alias(USER), ITEMS, TIMES).sort(USER)


def time_unit(histories: pl.DataFrame) -> Literal["s", "ms", "us"] | None:
    """What the histories' times count, by the size of a typical one since 1970; None without times.

    >>> time_unit(pl.DataFrame({"times": [[1_700_000_000_000], [1_700_000_000_500]]}))
    'ms'
    """
    if not histories.height or histories[TIMES].null_count():
        return None
    typical = abs(float(np.median(histories[TIMES].explode().to_numpy())))
    return "s" if typical < 1e11 else "ms" if typical < 1e14 else "us"
