"""How one ranking looks, query by query: everything that checks ask of it, from one pass over its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import ITEM, QUERY, RANK, SCORE

Ints = npt.NDArray[np.int64]
# Odd constants of splitmix64 (Steele, Lea and Flood, 2014): sums of mixed numbers tell sets apart.
MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Lists:
    """A ranking, one entry a query, in the order of the queries."""

    above: Ints
    """Items that score higher than the target; -1 where it is not listed."""
    tied: Ints
    """Items that score what the target scores, itself included."""
    length: Ints
    """Items listed; 0 where the query is not answered."""
    flat: npt.NDArray[np.bool_]
    """Whether all items of a longer list score the same."""
    first: Ints
    """The item of rank 1."""
    items: npt.NDArray[np.uint64]
    """A fingerprint of which items are listed,"""
    order: npt.NDArray[np.uint64]
    """of their order,"""
    scores: npt.NDArray[np.uint64]
    """and of their scores."""


def lists_of(ranking: pl.DataFrame, rows: Ints, targets: Ints) -> Lists:
    """`rows` says which query each row of the ranking answers, counted from 0; `targets` has one item a query.

    Reads item, rank, score.
    """
    item = ranking[ITEM].to_numpy().astype(np.int64)
    rank, score = ranking[RANK].to_numpy().astype(np.int64), ranking[SCORE].to_numpy().astype(np.float32)
    if (np.diff(rows) < 0).any():
        order = np.argsort(rows, kind="stable")
        rows, item, rank, score = rows[order], item[order], rank[order], score[order]
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    asked, n = rows[starts], len(targets)

    def per_query(values: npt.NDArray[np.generic], how: np.ufunc, empty: float = 0) -> npt.NDArray[np.generic]:
        out = np.full(n, empty, dtype=values.dtype)
        if len(starts):
            out[asked] = how.reduceat(values, starts)
        return out

    def counted(mask: npt.NDArray[np.bool_]) -> Ints:
        return per_query(mask.astype(np.int64), np.add).astype(np.int64)

    hers = np.full(n, np.nan, dtype=np.float32)
    held = item == targets[rows]
    hers[rows[held]] = score[held]
    listed = ~np.isnan(hers)
    first = np.full(n, np.iinfo(np.int32).min, dtype=np.int64)
    first[rows[rank == 1]] = item[rank == 1]
    length = counted(np.ones(len(rows), dtype=bool))
    kind = _mixed(item, 0)
    return Lists(
        np.where(listed, counted(score > hers[rows]), -1),
        np.where(listed, counted(score == hers[rows]), 1),
        length,
        (per_query(score, np.maximum) == per_query(score, np.minimum)) & (length > 1),
        first,
        per_query(kind, np.add).astype(np.uint64),
        per_query(_mixed(rank, kind), np.add).astype(np.uint64),
        per_query(_mixed((score + np.float32(0)).view(np.int32).astype(np.int64), kind), np.add).astype(np.uint64),
    )


def rows_of(table: pl.DataFrame, queries: pl.DataFrame) -> Ints:
    """Which of the queries each row of a table is about, counted from 0; every one of them must be there."""
    asked = table[QUERY].to_numpy()
    known = queries[QUERY].to_numpy()
    order = np.argsort(known, kind="stable")
    # One search for each stretch of the same query: rankings come query by query.
    starts = np.flatnonzero(np.r_[True, asked[1:] != asked[:-1]]) if len(asked) else np.empty(0, dtype=np.int64)
    found = order[np.searchsorted(known, asked[starts], sorter=order)] if len(asked) else starts
    return np.repeat(found, np.diff(np.r_[starts, len(asked)])).astype(np.int64)


def keys_of(table: pl.DataFrame, queries: pl.DataFrame) -> Ints:
    """One number for each (query, item) row of a table; items' codes have 32 bits, some below 0."""
    return (rows_of(table, queries) << 32) | (table[ITEM].to_numpy().astype(np.int64) & 0xFFFFFFFF)


def _mixed(numbers: Ints, salt: npt.NDArray[np.uint64] | int) -> npt.NDArray[np.uint64]:
    """Each number and its salt as one that looks random."""
    x = numbers.astype(np.uint64) * MIX[0] + np.asarray(salt, dtype=np.uint64)
    x = (x ^ (x >> np.uint64(30))) * MIX[1]
    x = (x ^ (x >> np.uint64(27))) * MIX[2]
    return x ^ (x >> np.uint64(31))
