"""The one shuffle: interactions, as they arrived, to histories. `spark` is its twin for more than one machine.

A user's rows are in one of the buckets, and all but two things are done a bucket at a time: how often an item was met,
which the k-core asks again and again, is counted over all of them, and codes are drawn when it is known who stays. What
comes out does not depend on how much memory there is.

settled   user: u32, item: u32 (places in the sorted keys), time: i64 or null, line: i64, rating: f32, behaviour: u8
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from llmrec.columns import BEHAVIOURS, ITEM, ITEMS, RATINGS, TIME, TIMES, USER
from llmrec.data import buckets
from llmrec.data.histories import codes, in_lists, in_order, stays
from llmrec.data.interactions import BEHAVIOUR, LISTED, RATING, ROW, WHY, Arrivals
from llmrec.data.moments import KIND, as_found
from llmrec.data.readers import LINE
from llmrec.errors import DataFault
from llmrec.progress import note

ENTERED = 1_000_000  # rows left out that get their keys back at once


@dataclass(frozen=True)
class Names:
    """Keys of users and items in sorted order, and the place there of each number."""

    users: pl.Series
    items: pl.Series
    user_places: np.ndarray
    item_places: np.ndarray


@dataclass(frozen=True)
class Shuffled:
    """Histories by user code (user, items, times and, where there are any, ratings, behaviours), and who is who."""

    histories: pl.DataFrame
    users: pl.DataFrame
    """key, code: i32"""
    items: pl.DataFrame
    """key, code: i32"""


def settled(arrivals: Arrivals) -> Names:
    """Puts every row into its final terms: places for numbers, times in one unit; strays are left out.

    Raises DataFault where no time can be read, or no interaction is left.
    """
    arrivals.moments.check(where=arrivals.file)
    users, user_places = arrivals.users.settled()
    items, item_places = arrivals.items.settled()
    names = Names(users, items, user_places, item_places)
    if arrivals.moments.mixed:
        note(f"prepare: times of several sizes, each read by its own: {arrivals.moments.words()}; all are microseconds")
    for store in (arrivals.rows, arrivals.declined):
        for number in range(buckets.COUNT):
            table = store.take(number)
            if table is None:
                continue
            table = table.with_columns(
                pl.Series(USER, names.user_places[table[USER].to_numpy()]),
                pl.Series(ITEM, names.item_places[table[ITEM].to_numpy()]),
            )
            if KIND in table.columns:
                found, table = table, arrivals.moments.settle(table)
                stray = table["fault"].is_not_null()
                wrong = table.filter(stray).with_columns(as_found(found.filter(stray)).alias("raw"))
                if WHY in table.columns:  # what was rated low is in the account already, and a list goes with its row
                    arrivals.listed["no time"] += wrong.filter(pl.col(WHY) == LISTED).height
                    wrong = wrong.filter(pl.col(WHY) == ROW)
                leave(arrivals, names, wrong, None)
                table = table.filter(~stray).drop("fault")
            if table.height:
                store.put(number, table)
    if not arrivals.rows.rows:
        words = arrivals.dropped.words()
        if shown := arrivals.read - sum(arrivals.dropped.counts().values()):
            words = f"{shown:,} tell only what was shown; left out: {words}"
        raise DataFault(f"{arrivals.file}: no interaction is left of {arrivals.read:,}: {words}.")
    return names


def shuffled(arrivals: Arrivals, names: Names, *, seed: int) -> Shuffled:
    """Orders, takes out repeats and what is below the minima, draws codes and makes histories.

    Raises DataFault where nothing is left, or one user only: there would be nobody to tell apart.
    """
    store = arrivals.rows
    for number in range(buckets.COUNT):
        table = store.take(number)
        if table is not None:
            store.put(number, _without_repeats(in_order(table), arrivals, names))
    alive = _core(arrivals, names)
    kept_users = np.zeros(len(names.users), dtype=np.int64)
    kept_items = np.zeros(len(names.items), dtype=np.int64)
    for number, stay in alive.items():
        table = store.look(number, USER, ITEM)
        assert table is not None
        np.add.at(kept_users, table[USER].to_numpy()[stay], 1)
        kept_items += np.bincount(table[ITEM].to_numpy()[stay], minlength=len(kept_items))
    users = codes(names.users.filter(pl.Series(kept_users > 0)), seed=seed, purpose=USER)
    items = codes(names.items.filter(pl.Series(kept_items > 0)), seed=seed, purpose=ITEM)
    user_codes, item_codes = _by_place(users, kept_users), _by_place(items, kept_items)
    lengths = np.zeros(users.height, dtype=np.int64)
    lengths[user_codes[kept_users > 0]] = kept_users[kept_users > 0]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    flat = _columns(arrivals, int(starts[-1]))
    for number, stay in alive.items():
        table = store.take(number)
        assert table is not None
        table = table.filter(pl.Series(stay))
        if not table.height:
            continue
        owner = table[USER].to_numpy()
        first, run = _runs(owner)
        to = np.arange(len(owner)) + np.repeat(starts[user_codes[owner[first]]] - first, run)
        flat[ITEMS][to] = item_codes[table[ITEM].to_numpy()]
        for name, source in ((TIMES, TIME), (RATINGS, RATING), (BEHAVIOURS, BEHAVIOUR)):
            if name in flat:
                flat[name][to] = table[source].to_numpy()
    return Shuffled(_lists(flat, starts), users, items)


def _without_repeats(ordered: pl.DataFrame, arrivals: Arrivals, names: Names) -> pl.DataFrame:
    data = arrivals.data
    if data.duplicates == "keep":
        return ordered
    behaviours = data.behaviours
    targets = ordered[BEHAVIOUR].to_numpy() < len(behaviours.target) if behaviours is not None else None
    stay = stays(ordered, data.duplicates, targets)
    leave(arrivals, names, ordered.filter(~stay), f"the same item again (duplicates: {data.duplicates})")
    return ordered.filter(stay)


def _core(arrivals: Arrivals, names: Names) -> dict[int, np.ndarray]:
    """The k-core: which rows of each bucket stay. Users, then items, below their minimum go, until none is."""
    data, store = arrivals.data, arrivals.rows
    before, most, people = store.rows, 0, 0
    alive: dict[int, np.ndarray] = {}
    few = np.zeros(len(names.items), dtype=bool)
    while True:
        changed = False
        counts = np.zeros(len(names.items), dtype=np.int64)
        for number in range(buckets.COUNT):
            table = store.look(number, USER, ITEM)
            if table is None:
                continue
            user, item = table[USER].to_numpy(), table[ITEM].to_numpy()
            first, run = _runs(user)
            if number not in alive:
                alive[number] = np.ones(len(user), dtype=bool)
                most, people = max(most, int(run.max())), people + len(run)
            stay = alive[number]
            gone = stay & few[item]
            low = stay & ~gone
            low &= np.repeat(np.add.reduceat(low, first, dtype=np.int64) < data.min_user, run)
            for rows, word, least in ((gone, "an item", data.min_item), (low, "a user", data.min_user)):
                if rows.any():
                    changed = True
                    left = store.look(number, USER, ITEM, LINE)
                    assert left is not None
                    leave(arrivals, names, left.filter(pl.Series(rows)), f"{word} with fewer than {least} interactions")
                    stay &= ~rows
            counts += np.bincount(item[stay], minlength=len(counts))
        few = (counts > 0) & (counts < data.min_item)
        if not changed and not few.any():
            break
    rest = sum(int(stay.sum()) for stay in alive.values())
    check(arrivals, names, left=rest, before=before, people=people, most=most, users=_two(arrivals, alive))
    return alive


def _two(arrivals: Arrivals, alive: dict[int, np.ndarray]) -> list[int]:
    """Two of the users who stay, or all where there are fewer."""
    found: list[int] = []
    for number, stay in alive.items():
        table = arrivals.rows.look(number, USER) if len(found) < 2 and stay.any() else None
        if table is not None:
            found += table[USER].filter(pl.Series(stay)).unique().head(2).to_list()
    return found


def _runs(owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each owner's rows, which stand together, begin, and how many they are."""
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    return first, np.diff(first, append=len(owner))


def check(
    arrivals: Arrivals, names: Names, *, left: int, before: int, people: int, most: int, users: list[int]
) -> None:
    """Raises DataFault where nothing is left, or one user: `users` are those who are, or some of them."""
    data, file = arrivals.data, arrivals.file
    if left == 0:
        raise DataFault(
            f"{file}: nothing is left of {before:,} interactions by {people:,} users with "
            f"data.min_user={data.min_user} and data.min_item={data.min_item} (the most active user has {most:,}). "
            "Lower them."
        )
    if len(users) == 1:
        raise DataFault(
            f"{file}: only one user is left, {names.users[users[0]]!r} with {left:,} interactions; it takes two to "
            f"compare rankers. Is it the right column? Left out: {arrivals.dropped.words()}."
        )


def leave(arrivals: Arrivals, names: Names, rows: pl.DataFrame, reason: str | None) -> None:
    """Enters rows that are left out, under their keys; without a reason for all, each has a `fault` and its time."""
    for part in rows.iter_slices(ENTERED):
        told = part.select(LINE, names.users[part[USER]].alias(USER), names.items[part[ITEM]].alias(ITEM))
        if reason is None:
            raw = pl.concat_str(USER, ITEM, part["raw"], separator=",")
            told = told.with_columns(part["fault"].alias("reason"), raw.alias("raw"))
        arrivals.leave(told, reason)


def _by_place(table: pl.DataFrame, kept: np.ndarray) -> np.ndarray:
    """The code at each place; the code table's keys come in the order of places."""
    found = np.full(len(kept), -1, dtype=np.int32)
    found[kept > 0] = table["code"].to_numpy()
    return found


def _columns(arrivals: Arrivals, rows: int) -> dict[str, np.ndarray]:
    kinds = {ITEMS: (True, np.int32), TIMES: (arrivals.timed, np.int64), RATINGS: (arrivals.rated, np.float32)}
    kinds[BEHAVIOURS] = (arrivals.data.behaviours is not None, np.uint8)
    return {name: np.empty(rows, dtype=kind) for name, (there, kind) in kinds.items() if there}


def _lists(flat: dict[str, np.ndarray], starts: np.ndarray) -> pl.DataFrame:
    """A row a user, without a copy of what it holds."""
    import pyarrow as pa

    users = len(starts) - 1
    table = pl.DataFrame({USER: np.arange(users, dtype=np.int32)})
    for name, values in flat.items():
        nothing = np.isnan(values) if name == RATINGS else None  # a rating that is no number is none
        arrow = pa.array(values, mask=nothing)
        table = table.with_columns(in_lists(arrow, starts).alias(name))
    if TIMES not in flat:
        table = table.insert_column(2, pl.Series(TIMES, [None] * users, dtype=pl.List(pl.Int64)))
    return table
