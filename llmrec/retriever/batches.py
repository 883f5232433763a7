"""Histories of many lengths as the rectangles that a network reads.

Letters of shapes: b rows, l positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


def padded(rows: Sequence[np.ndarray], fill: float = 0, dtype: type = np.int64) -> tuple[Tensor, Tensor]:
    """Rows as one rectangle (b, l) with `fill` to the right of each, and how long each is (b,).

    >>> items, lengths = padded([np.array([4, 2, 9]), np.array([7])])
    >>> items.tolist(), lengths.tolist()
    ([[4, 2, 9], [7, 0, 0]], [3, 1])
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    table: np.ndarray = np.full((len(rows), int(lengths.max(initial=0))), fill, dtype=dtype)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate([*rows, np.empty(0, dtype)])
    return torch.from_numpy(table), torch.from_numpy(lengths)


def gaps(times: np.ndarray, scale: float, before: float = np.nan) -> np.ndarray:
    """log(1 + time since the item before / scale) of items at `times`; 0 where either moment is not known (nan).

    `before` is the moment of what came before the first.

    >>> gaps(np.array([100.0, 100.0, np.nan, 350.0]), 50, before=50.0).round(2)
    array([0.69, 0.  , 0.  , 0.  ], dtype=float32)
    """
    waited = np.diff(times, prepend=before)
    return np.asarray(np.log1p(np.clip(np.nan_to_num(waited), 0, None) / scale), dtype=np.float32)


def chains(contexts: Sequence[np.ndarray], times: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
    """Rows in a row of which each context begins with the one before it, such as one user's queries in order.

    With `times`, the moments of its items begin so too.

    >>> [rows.tolist() for rows in chains([np.array([4]), np.array([4, 2]), np.array([3, 1]), np.array([3])])]
    [[0, 1], [2], [3]]
    """

    def goes_on(row: int) -> bool:
        length = len(contexts[row - 1])
        same = np.array_equal(contexts[row][:length], contexts[row - 1])
        if same and times is not None:
            return np.array_equal(times[row][:length], times[row - 1][:length], equal_nan=True)
        return same

    breaks = [row for row in range(1, len(contexts)) if not goes_on(row)]
    return [rows for rows in np.split(np.arange(len(contexts)), breaks) if len(rows)]


def alike(lengths: Sequence[int], positions: int) -> Iterator[np.ndarray]:
    """Rows in batches of like length, as many as fit in `positions` with a start vector and padding; shortest first."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1  # the longest of a batch says how much each costs
        while stop < len(order) and (stop + 1 - start) * (lengths[order[stop]] + 1) <= positions:
            stop += 1
        yield order[start:stop]
        start = stop
