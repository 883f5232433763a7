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
