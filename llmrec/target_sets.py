"""The metrics of `llmrec.metrics` where a query has several targets: still exact means over every order of ties.

Targets that tie with each other are drawn from one group, so what counts pairs of them, or the first of them, is more
than a sum over targets: a group of `tied` items, `targets` of them wanted, is a random order without replacement
(McSherry and Najork, ECIR 2008). recall, precision and DCG are sums over targets, and their means are sums of means.

    hit@k        the chance that any target is among the first k
    recall@k     targets among the first k, over all of the query's targets, listed or not
    precision@k  targets among the first k, over k
    ndcg@k       DCG over that of the best list: min(targets, k) targets first (gain 1, discount log2)
    mrr@k        1 / rank of the first target
    map@k        precision at each target's rank, summed over the first k, over all of the query's targets (trec_eval)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec import metrics
from llmrec.metrics import Counts, Values


@dataclass(frozen=True)
class Groups:
    """The groups of tied items that hold targets: a row each, by query, best first."""

    query: Counts
    """Whose, 0, 1, ..."""
    above: Counts
    tied: Counts
    targets: Counts
    """Targets in the group."""
    before: Counts
    """Targets in the query's groups above this one."""
    wanted: Counts
    """All targets of each query, listed or not."""

    @classmethod
    def of(cls, above: npt.ArrayLike, tied: npt.ArrayLike, query: npt.ArrayLike) -> Groups:
        """From a place and a query for each target; what is not listed (above = -1) is in no group."""
        above, tied = metrics.checked_places(above, tied)
        _, owner = np.unique(np.asarray(query), return_inverse=True)
        listed = above >= 0
        key = owner[listed] * (int(above.max(initial=0)) + 1) + above[listed]
        _, rows, targets = np.unique(key, return_index=True, return_counts=True)
        owners, tied = owner[listed][rows], tied[listed][rows]
        if (targets > tied).any():
            raise ValueError("targets at one place tie with each other: tied must be as many or more")
        sofar = np.cumsum(targets) - targets
        before = sofar - sofar[np.searchsorted(owners, owners)]
        return cls(owners, above[listed][rows], tied, targets, before, np.bincount(owner))

    def total(self, each: Values) -> Values:
        """A value of each group added up for each query; 0 where no target is listed."""
        return np.bincount(self.query, weights=each, minlength=len(self.wanted)).astype(np.float64, copy=False)


def hit(groups: Groups, k: int) -> Values:
    return _first(groups, np.ones(k))


def recall(groups: Groups, k: int) -> Values:
    return groups.total(groups.targets * metrics.hit(groups.above, groups.tied, k)) / groups.wanted


def precision(groups: Groups, k: int) -> Values:
    return groups.total(groups.targets * metrics.hit(groups.above, groups.tied, k)) / k


def ndcg(groups: Groups, k: int) -> Values:
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    gained = groups.total(groups.targets * metrics.ndcg(groups.above, groups.tied, k))
    best: Values = ideal[np.minimum(groups.wanted, k) - 1]
    return gained / best


def mrr(groups: Groups, k: int) -> Values:
    return _first(groups, 1 / np.arange(1, k + 1))


def average_precision(groups: Groups, k: int) -> Values:
    """The i-th of a group's places holds a target targets / tied of the time, and then, on average, before + 1 targets
    stand so far and (i - 1) (targets - 1) / (tied - 1) more of its own group."""
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, k + 1))])
    first, last = np.minimum(groups.above, k), np.minimum(groups.above + groups.tied, k)
    inverse = harmonic[last] - harmonic[first]  # the sum of 1 / rank over the group's ranks
    among = (groups.targets - 1) / np.maximum(groups.tied - 1, 1)
    ahead = (last - first) - (groups.above + 1) * inverse  # the sum of (i - 1) / rank
    share = groups.targets / groups.tied
    return groups.total(share * ((groups.before + 1) * inverse + among * ahead)) / groups.wanted


METRICS: dict[str, Callable[[Groups, int], Values]] = {
    "hit": hit,
    "ndcg": ndcg,
    "mrr": mrr,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
}


def measure(name: str, groups: Groups) -> Values:
    """A metric by name: one value for each distinct query, in ascending order.

    A query without targets is not among them: it has no value, and no 0 that a mean could take for one.

    >>> places = Groups.of(above=[0, 7, -1, 1], tied=[1, 1, 1, 2], query=[4, 4, 4, 9])
    >>> measure("recall@5", places).round(3)
    array([0.333, 1.   ])
    """
    metric, depth = metrics.split_name(name)
    return METRICS[metric](groups, depth)


def _first(groups: Groups, gain: Values) -> Values:
    """The mean of gain[rank - 1] of each query's first target, which its first group holds."""
    first = groups.before == 0
    above, tied, targets = groups.above[first], groups.tied[first], groups.targets[first]
    gain = np.append(gain, 0.0)  # below the last rank nothing is gained
    mean, left = np.zeros(len(above)), np.ones(len(above))  # left: the chance that none stood so far
    for i in range(min(int(tied.max(initial=0)), len(gain) - 1)):
        here = left * np.minimum(targets / np.maximum(tied - i, 1), 1.0)
        mean += here * gain[np.minimum(above + i, len(gain) - 1)]
        left -= here
    found = np.zeros(len(groups.wanted))
    found[groups.query[first]] = mean
    return found
