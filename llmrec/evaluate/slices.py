"""For whom a ranker works: the primary metric by target popularity, history, item age, title and what else differs.

target_popularity  how often the target occurs in training, in deciles where each holds enough queries
history_length     interactions before the query
item_age           days since training first met the target; absent without times, and for targets it never met
cold_items         whether training never met the target
title_length       characters of the target's text
repeat_or_new      whether the user's history holds the target already
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import COUNT, ITEM, POSITION, TARGET
from llmrec.evaluate.per_query import Values
from llmrec.evaluate.resampling import resample

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

GROUPS, FINE = 3, 10
ENOUGH = 200  # queries a group, before there are FINE of them
DAY = 86_400
Numbers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.bool_]


def target_popularity(larder: Larder, queries: pl.DataFrame) -> Numbers:
    """How often each target occurs in training."""
    counts = np.zeros(larder.n_items, dtype=np.int64)
    counts[larder.catalogue[ITEM].to_numpy()] = larder.catalogue[COUNT].to_numpy()
    return np.asarray(counts[queries[TARGET].to_numpy()])


def history_length(larder: Larder, queries: pl.DataFrame) -> Numbers:
    """How many interactions come before each target."""
    return queries[POSITION].to_numpy().astype(np.int64)


def title_length(larder: Larder, queries: pl.DataFrame) -> Numbers:
    """Characters of each target's text: a likelihood summed over tokens favours short ones."""
    lengths = np.array([len(text) for text in larder.texts], dtype=np.int64)
    return np.asarray(lengths[queries[TARGET].to_numpy()])


def item_age(larder: Larder, queries: pl.DataFrame) -> Numbers:
    """Whole days from each target's first interaction in training to the query; -1 where there is no saying.

    A split by last interactions may train on what came after a query: such a target is 0 days old.
    """
    training, moments = larder.training(), larder.training_moments()
    if moments is None:
        return np.full(queries.height, -1)
    first = np.full(larder.n_items, np.inf)
    np.minimum.at(first, np.concatenate(training), np.concatenate(moments))
    now = np.array([times[-1] for times in larder.moments(queries)])
    days = np.maximum(now - first[queries[TARGET].to_numpy()], 0.0) // DAY
    known = np.isfinite(days) & np.isfinite(first[queries[TARGET].to_numpy()])
    return np.where(known, days, -1).astype(np.int64)


def is_cold(larder: Larder, queries: pl.DataFrame) -> Rows:
    """Whether training never met the target."""
    return np.equal(target_popularity(larder, queries), 0)


def is_repeat(larder: Larder, queries: pl.DataFrame) -> Rows:
    """Whether the user's history holds the target already."""
    contexts = larder.contexts(queries)
    return np.array([(items == t).any() for items, t in zip(contexts, queries[TARGET], strict=True)], dtype=bool)


def _grouped(numbers: Callable[[Larder, pl.DataFrame], Numbers], fine: bool = False) -> Slice:
    def cut(larder: Larder, queries: pl.DataFrame) -> dict[str, Rows]:
        found = numbers(larder, queries)
        return groups(found, FINE if fine and len(found) >= FINE * ENOUGH else GROUPS)

    return cut


def _told(claim: Callable[[Larder, pl.DataFrame], Rows], *, no: str, yes: str) -> Slice:
    def cut(larder: Larder, queries: pl.DataFrame) -> dict[str, Rows]:
        rows = claim(larder, queries)
        return {name: part for name, part in ((no, ~rows), (yes, rows)) if part.any()}

    return cut


Slice = Callable[["Larder", pl.DataFrame], dict[str, Rows]]
SLICES: dict[str, Slice] = {
    "target_popularity": _grouped(target_popularity, fine=True),
    "history_length": _grouped(history_length),
    "item_age": _grouped(item_age),
    "cold_items": _told(is_cold, no="met in training", yes="never met"),
    "title_length": _grouped(title_length),
    "repeat_or_new": _told(is_repeat, no="new", yes="repeat"),
}
"""slice -> group -> which queries are in it, lowest first."""


def groups(numbers: Numbers, count: int = GROUPS) -> dict[str, Rows]:
    """About equally many queries a group, cut at quantiles; equal numbers stay together, so there may be fewer groups.

    Negative numbers, of which there is no saying, are in none.

    >>> {name: int(rows.sum()) for name, rows in groups(np.array([1, 1, 1, 2, 5, 9, 9, 12, 40])).items()}
    {'1': 3, '2 to 9': 4, '12 to 40': 2}
    """
    told = numbers >= 0
    if not told.any():
        return {}
    cuts = np.unique(np.quantile(numbers[told], np.arange(1, count) / count, method="inverted_cdf"))
    which = np.searchsorted(cuts, numbers, side="left")
    found = {}
    for group in np.unique(which[told]):
        rows = told & (which == group)
        low, high = int(numbers[rows].min()), int(numbers[rows].max())
        found[f"{low:,}" if low == high else f"{low:,} to {high:,}"] = rows
    return found


def sliced(
    values: Values, larder: Larder, queries: pl.DataFrame, primary: str, *, count: int, seed: int
) -> dict[str, dict[str, Any]]:
    """slice -> group -> {"queries", "users", "rankers": {ranker: {"mean", "low", "high"}}} on the primary metric.

    Groups come lowest first; a slice on which all queries are alike is left out. Intervals are not corrected for
    looking at many groups: they are there to be looked at, not to be won on.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, cut in SLICES.items():
        parts = cut(larder, queries)
        if len(parts) < 2:
            continue
        found[name] = {}
        for group, rows in parts.items():
            part = values.only(rows, [primary])
            means = resample(part, count, seed=seed)
            found[name][group] = {
                "queries": int(rows.sum()),
                "users": len(np.unique(part.users)),
                "rankers": {ranker: means.interval(ranker, primary) for ranker in part.rankers},
            }
    return found
