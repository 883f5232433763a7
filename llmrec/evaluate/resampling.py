"""How sure a mean is: the percentile bootstrap over users, the same resamples for every ranker.

Queries of one user are not independent, so users are drawn, each with all their queries (Field and Welsh 2007, JRSS B
69), and a mean over queries is a ratio: what the drawn users scored, over how many queries they asked. Every ranker
meets the same drawn users, which makes intervals of differences paired. Where a ranker was trained with several seeds,
the seeds are drawn as well; rankers with equally many seeds share those draws, since seed i starts the i-th training of
each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.evaluate.per_query import Values
from llmrec.rng import rng_for

LEVEL = 0.95
BLOCK = 4_000_000  # numbers held at once: 32 MB of float64
ROWS = 64  # resamples in a product: enough for its speed
ONE_THREAD = 1 << 18  # multiplications that OpenBLAS does not divide among threads (interface/gemm.c)

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """Means over queries and their resamples."""

    metrics: list[str]
    mean: dict[str, Array]
    """ranker -> (metrics,)."""
    draws: dict[str, Array]
    """ranker -> (resamples, metrics)."""

    def interval(self, ranker: str, metric: str) -> dict[str, float]:
        """{"mean", "low", "high"}: the mean and its 95 % interval."""
        column = self.metrics.index(metric)
        low, high = bounds(self.draws[ranker][:, column])
        return {"mean": float(self.mean[ranker][column]), "low": low, "high": high}

    def difference(self, a: str, b: str, metric: str) -> dict[str, float]:
        """{"difference", "low", "high"}: a minus b on the same drawn users."""
        column = self.metrics.index(metric)
        low, high = bounds(self.draws[a][:, column] - self.draws[b][:, column])
        return {"difference": float(self.mean[a][column] - self.mean[b][column]), "low": low, "high": high}


def resample(values: Values, count: int, *, seed: int) -> Means:
    """The mean of every metric of every ranker, and `count` resamples of it."""
    sums, asked = user_sums(values)
    names = list(values.rankers)
    widths = [sums[name].shape[1] for name in names]
    # (users, rankers * seeds * metrics + 1): one product with the drawn counts serves every ranker.
    side = np.concatenate([*(sums[name] for name in names), asked[:, None]], axis=1)
    drawn = np.empty((count, side.shape[1]))
    for rows, weights in _drawn_users(len(asked), count, seed):
        drawn[rows] = _product(weights, side)
    drawn /= drawn[:, -1:]
    mean, draws, start = {}, {}, 0
    for name, width in zip(names, widths, strict=True):
        trained = len(values.rankers[name])
        per_seed = drawn[:, start : start + width].reshape(count, trained, -1)
        draws[name] = np.einsum("bs,bsm->bm", _drawn_seeds(trained, count, seed), per_seed)
        mean[name] = values.rankers[name].mean(axis=(0, 1))
        start += width
    return Means(values.metrics, mean, draws)


def user_sums(values: Values) -> tuple[dict[str, Array], Array]:
    """What each user scored in all, ranker -> (users, seeds * metrics), and how many queries each asked, (users,)."""
    _, who = np.unique(values.users, return_inverse=True)
    asked = np.bincount(who).astype(float)
    sums = {}
    for name, scores in values.rankers.items():
        flat = scores.transpose(1, 0, 2).reshape(len(who), -1)
        if len(asked) == len(who):  # one query a user: only the order changes
            total = np.empty_like(flat)
            total[who] = flat
        else:
            total = np.stack([np.bincount(who, weights=column, minlength=len(asked)) for column in flat.T], axis=1)
        sums[name] = total
    return sums, asked


def bounds(draws: Array) -> tuple[float, float]:
    """The 95 % percentile interval."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _drawn_users(users: int, count: int, seed: int) -> Iterator[tuple[slice, Array]]:
    """How often each user is drawn, (block, users) at a time, in an array that the next block is written over."""
    rng = rng_for(seed, "bootstrap", "users")
    block = max(1, min(BLOCK // max(users, 1), ROWS, count))
    weights = np.empty((block, users))
    starts = range(0, count, block)
    with ThreadPoolExecutor(1) as ahead:  # one block is drawn while the one before is counted and multiplied
        drawn = ahead.submit(rng.integers, users, size=(block, users))
        for start in starts:
            draws = drawn.result()[: count - start]
            if start != starts[-1]:
                drawn = ahead.submit(rng.integers, users, size=(block, users))
            for row, who in zip(weights, draws, strict=False):
                row[:] = np.bincount(who, minlength=users)
            yield slice(start, start + len(draws)), weights[: len(draws)]


def _product(weights: Array, side: Array) -> Array:
    """weights @ side, a piece of the users at a time: pieces that BLAS does on one thread.

    Its threads spin while they wait, here for the one that draws, and the last digits would depend on how many there
    are.
    """
    piece = max(1, ONE_THREAD // (weights.shape[0] * side.shape[1]))
    total = np.zeros((weights.shape[0], side.shape[1]))
    for start in range(0, len(side), piece):
        total += weights[:, start : start + piece] @ side[start : start + piece]
    return total


def _drawn_seeds(trained: int, count: int, seed: int) -> Array:
    """The share of each training seed in each resample, (count, trained)."""
    if trained == 1:
        return np.ones((count, 1))
    rng = rng_for(seed, "bootstrap", "seeds", trained)
    return rng.multinomial(trained, np.full(trained, 1 / trained), size=count) / trained
