"""Does the place of a candidate in its list say anything? It must not: models read lists in order.

A published benchmark shuffles its candidates with the target as the seed, so that the target's slot is a function of
the target: a rule that knows those slots and nothing of the user finds four targets in five.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer]

SHUFFLES = 200
MOST = 50_000  # queries looked at for dependence: a leak shows in far fewer


def dependence(slots: Ints, targets: Ints, *, rng: np.random.Generator) -> float:
    """How many standard deviations more often than by chance queries with the same target share its slot.

    Compares the number of such pairs with shuffled slots, so that targets asked for once, and uneven slots, count for
    nothing. 0 where no target repeats; beyond 6 the slots follow the target.
    """
    slots, targets = slots[:MOST].astype(np.int64), targets[:MOST].astype(np.int64)
    cells = targets * (int(slots.max(initial=0)) + 1)
    pairs = np.array([_pairs(cells + rng.permutation(slots)) for _ in range(SHUFFLES)])
    spread = float(pairs.std())
    return (_pairs(cells + slots) - float(pairs.mean())) / spread if spread > 0 else 0.0


def memorised(items: Ints, slots: Ints, users: Ints, *, rng: np.random.Generator) -> tuple[float, float]:
    """HR@1 of a rule that knows only slots and popularity, and of popularity alone; nobody's history.

    `items[q, s]` is query q's candidate in slot s, `slots[q]` the target's slot. What half of the users' targets teach
    (how often an item is a target, and in which slots) is tried on the other half, both ways round: naive Bayes, every
    item with one target more than it has, and a tenth of one spread over its slots. Ties count as their mean over every
    order.
    """
    items, slots, users = items[:MOST].astype(np.int64), slots[:MOST], users[:MOST]
    n, width = items.shape
    items = np.unique(items, return_inverse=True)[1].reshape(n, width)
    target = items[np.arange(n), slots]
    user = np.unique(users, return_inverse=True)[1]
    half = (rng.permutation(user.max(initial=0) + 1) % 2)[user]
    hits = np.zeros((2, n))
    for side in (0, 1):
        learnt, tried = half == side, half != side
        often = np.bincount(target[learnt], minlength=items.max(initial=0) + 1)
        cells, counts = np.unique(target[learnt] * width + slots[learnt], return_counts=True)
        asked = items[tried] * width + np.arange(width)
        at = np.searchsorted(cells, asked).clip(max=max(len(cells) - 1, 0))
        there = np.where(cells[at] == asked, counts[at], 0) if len(cells) else np.zeros(asked.shape)
        popular = often[items[tried]] + 1.0
        for row, score in enumerate(((there + 0.1 / width) * popular / (popular - 0.9), popular)):
            best = score == score.max(axis=1, keepdims=True)
            right = best[np.arange(len(score)), slots[tried]]
            hits[row, tried] = right / best.sum(axis=1)
    return float(hits[0].mean()), float(hits[1].mean())


def unevenness(slots: Ints, width: int) -> float:
    """The p-value of "each of `width` slots is as likely": chi-square, by Wilson and Hilferty's normal limit (1931)."""
    if width < 2 or not len(slots):
        return 1.0
    counts = np.bincount(slots, minlength=width)
    expected = len(slots) / width
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = width - 1
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return math.erfc(z / math.sqrt(2)) / 2


def _pairs(cells: npt.NDArray[np.int64]) -> float:
    counts = np.unique(cells, return_counts=True)[1]
    return float((counts * (counts - 1) // 2).sum())
