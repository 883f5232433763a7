"""Who is better, by how much, and how sure that is: every pair of rankers of one table, on the metric that decides.

The interval is the paired bootstrap of `resampling`. The p-value is a sign-flip permutation test on users'
differences (two-sided: were both rankers alike, a user's difference would as soon have had the other sign), and where a
ranker was trained with several seeds, the larger of that and the bootstrap's own tail, since flipping signs knows
nothing of seeds. Holm's step-down correction (1979) runs over all pairs of the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from llmrec.evaluate.per_query import Values
from llmrec.evaluate.resampling import BLOCK, Means, user_sums
from llmrec.rng import rng_for

ALPHA = 0.05
FLIPS = 10_000
MANY_USERS = 2_000  # with so many users who differ, the normal limit is as exact as FLIPS draws are
EQUAL = 1e-12  # sums of the same numbers in another order differ by less

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """a against b on one metric; differences are a minus b."""

    a: str
    b: str
    metric: str
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    effect: float | None
    """Cohen's d_z: users' mean difference over its standard deviation; null where that is 0 and the mean is not."""
    won: int
    """Users for whom a scored higher than b."""
    tied: int
    lost: int
    seeds_a: int
    seeds_b: int
    pairs: int
    """How many pairs Holm's correction ran over."""

    @property
    def outcome(self) -> Literal["beats", "ahead", "level", "behind", "loses"]:
        """`beats`, `loses`: interval and corrected test both exclude 0; `ahead`, `behind`: the interval alone does."""
        if self.low <= 0 <= self.high or self.difference == 0:
            return "level"
        sure = self.p_holm <= ALPHA
        if self.difference > 0:
            return "beats" if sure else "ahead"
        return "loses" if sure else "behind"

    def turned(self) -> Comparison:
        """The same comparison seen from b."""
        return Comparison(
            a=self.b,
            b=self.a,
            metric=self.metric,
            mean_a=self.mean_b,
            mean_b=self.mean_a,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            p=self.p,
            p_holm=self.p_holm,
            effect=None if self.effect is None else -self.effect,
            won=self.lost,
            tied=self.tied,
            lost=self.won,
            seeds_a=self.seeds_b,
            seeds_b=self.seeds_a,
            pairs=self.pairs,
        )


def compare(values: Values, means: Means, metric: str, *, seed: int) -> list[Comparison]:
    """Every pair of rankers once, the later-named as `a`: contenders come after floors, tuned after untuned."""
    scored = {name: seeds.mean(axis=1) for name, seeds in user_sums(values.only(metrics=[metric]))[0].items()}
    _, asked = user_sums(values.only(metrics=[]))
    pairs = [(later, earlier) for earlier, later in combinations(values.rankers, 2)]
    if not pairs:
        return []
    differences = np.stack([scored[a] - scored[b] for a, b in pairs], axis=1)
    ps = [float(p) for p in sign_flip(differences, seed=seed)]
    column = means.metrics.index(metric)
    for index, (a, b) in enumerate(pairs):
        if max(len(values.rankers[a]), len(values.rankers[b])) > 1:
            ps[index] = max(ps[index], _tail(means.draws[a][:, column] - means.draws[b][:, column]))
    found = []
    for index, ((a, b), p_holm) in enumerate(zip(pairs, holm(ps), strict=True)):
        gap = means.difference(a, b, metric)
        each = differences[:, index] / asked
        same = np.abs(each) < EQUAL
        won = int((each[~same] > 0).sum())
        found.append(
            Comparison(
                a=a,
                b=b,
                metric=metric,
                mean_a=float(means.mean[a][column]),
                mean_b=float(means.mean[b][column]),
                difference=gap["difference"],
                low=gap["low"],
                high=gap["high"],
                p=ps[index],
                p_holm=p_holm,
                effect=effect_size(each),
                won=won,
                tied=int(same.sum()),
                lost=len(each) - won - int(same.sum()),
                seeds_a=len(values.rankers[a]),
                seeds_b=len(values.rankers[b]),
                pairs=len(pairs),
            )
        )
    return found


def find(comparisons: list[Comparison], a: str, b: str) -> Comparison | None:
    """The comparison of a with b, turned where it was made the other way round; None where it was not made."""
    for comparison in comparisons:
        if (comparison.a, comparison.b) == (a, b):
            return comparison
        if (comparison.a, comparison.b) == (b, a):
            return comparison.turned()
    return None


def sign_flip(differences: Array, *, flips: int = FLIPS, seed: int) -> Array:
    """Two-sided p of "users' differences are symmetric about 0" for each column of (users, pairs).

    Monte Carlo with the observed signs among the draws, so that p is never 0 (Phipson and Smyth 2010); for pairs that
    differ on more than MANY_USERS users, its normal limit.
    """
    users = len(differences)
    if users > MANY_USERS:
        return np.array([_by_limit(column, flips=flips, seed=seed) for column in differences.T])
    seen = np.abs(differences.sum(axis=0))
    rng = rng_for(seed, "sign flip")
    as_far = np.ones(differences.shape[1])
    block = max(1, BLOCK // max(users, 1))
    near = seen - 1e-9 * np.maximum(1.0, seen)  # sums in another order differ in the last digits
    for start in range(0, flips, block):
        signs = rng.integers(0, 2, size=(min(block, flips - start), users), dtype=np.int8) * 2.0 - 1.0
        as_far += (np.abs(signs @ differences) >= near).sum(axis=0)
    return as_far / (flips + 1)


def _by_limit(column: Array, *, flips: int, seed: int) -> float:
    """The p of one pair, by its normal limit unless too few users differ: those who do not have no sign to flip."""
    column = column[column != 0]
    if len(column) <= MANY_USERS:
        return float(sign_flip(column[:, None], flips=flips, seed=seed)[0])
    return math.erfc(abs(float(column.sum())) / math.sqrt(2 * float((column**2).sum())))


def holm(ps: list[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = largest
    return adjusted


def effect_size(differences: Array) -> float | None:
    """Cohen's d_z of users' differences; None where all are the same and not 0, so that there is nothing to divide by.

    >>> effect_size(np.array([1.0, 2.0, 3.0]))
    2.0
    """
    mean = float(differences.mean())
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if spread > EQUAL:
        return mean / spread
    return 0.0 if abs(mean) < EQUAL else None


def _tail(draws: Array) -> float:
    """The bootstrap's own two-sided p: how often the resampled difference lands on the other side of 0."""
    fewer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (fewer + 1) / (len(draws) + 1))
