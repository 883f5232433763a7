"""For whom a ranker works: the primary metric by target popularity, history length and title length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import COUNT, ITEM, POSITION, TARGET
from llmrec.evaluate.per_query import Values
from llmrec.evaluate.resampling import resample

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

GROUPS = 3
Numbers = npt.NDArray[np.int64]


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


SLICES = {"target_popularity": target_popularity, "history_length": history_length, "title_length": title_length}


def groups(numbers: Numbers, count: int = GROUPS) -> dict[str, npt.NDArray[np.bool_]]:
    """About equally many queries a group, cut at quantiles; equal numbers stay together, so there may be fewer groups.

    >>> {name: int(rows.sum()) for name, rows in groups(np.array([1, 1, 1, 2, 5, 9, 9, 12, 40])).items()}
    {'1': 3, '2 to 9': 4, '12 to 40': 2}
    """
    if not len(numbers):
        return {}
    cuts = np.unique(np.quantile(numbers, np.arange(1, count) / count, method="inverted_cdf"))
    which = np.searchsorted(cuts, numbers, side="left")
    found = {}
    for group in np.unique(which):
        rows = which == group
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
    for name, numbers in SLICES.items():
        parts = groups(numbers(larder, queries))
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
