"""Histories of many lengths as the rectangles that a model reads.

Letters of shapes: b rows, l positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


def padded(histories: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Item codes (b, l) with 0 to the right of each history, and how long each is (b,).

    >>> items, lengths = padded([np.array([4, 2, 9]), np.array([7])])
    >>> items.tolist(), lengths.tolist()
    ([[4, 2, 9], [7, 0, 0]], [3, 1])
    """
    lengths = np.array([len(h) for h in histories], dtype=np.int64)
    items = np.zeros((len(histories), int(lengths.max(initial=0))), dtype=np.int64)
    items[np.arange(items.shape[1]) < lengths[:, None]] = np.concatenate([*histories, np.empty(0, np.int64)])
    return torch.from_numpy(items), torch.from_numpy(lengths)


def chains(contexts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Rows in a row of which each context begins with the one before it, such as one user's queries in order.

    >>> [rows.tolist() for rows in chains([np.array([4]), np.array([4, 2]), np.array([3, 1]), np.array([3])])]
    [[0, 1], [2], [3]]
    """
    breaks = [
        row
        for row in range(1, len(contexts))
        if not np.array_equal(contexts[row][: len(contexts[row - 1])], contexts[row - 1])
    ]
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
