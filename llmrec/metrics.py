"""How near the top a ranker put the targets: expectations over the random order of ties, one value a query.

`above` counts the items that score strictly higher than a target; `tied` those that score the same, the target included
(`llmrec.ranking.places`). Every order of tied items is as likely as any other, so the target's rank is uniform on
above + 1 ... above + tied, and each metric below is the exact mean over those ranks: no draw, no dependence on the
order in which candidates happened to be listed. `above` = -1 says that the target is not listed: a miss, worth 0.

A query of ours has one target, and the functions below take one: then recall@k is hit@k, precision@k is hit@k / k,
map@k is mrr@k, and the ideal DCG is 1, so ndcg@k needs no further division (Järvelin and Kekäläinen 2002; the mean over
ties is McSherry and Najork's, ECIR 2008). What they are for several targets a query is in `llmrec.target_sets`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.integer]
Values = npt.NDArray[np.float64]


def hit(above: npt.ArrayLike, tied: npt.ArrayLike, k: int) -> Values:
    """The chance that the target is among the first k.

    >>> hit([0, 1, 3, -1], [1, 1, 4, 1], k=5)
    array([1. , 1. , 0.5, 0. ])
    """
    above, tied = checked_places(above, tied)
    return np.where(above < 0, 0.0, np.clip((k - above) / tied, 0.0, 1.0))


def precision(above: npt.ArrayLike, tied: npt.ArrayLike, k: int) -> Values:
    """The share of the first k that is the target.

    >>> precision([0, 1, 3, -1], [1, 1, 4, 1], k=5)
    array([0.2, 0.2, 0.1, 0. ])
    """
    return hit(above, tied, k) / k


def ndcg(above: npt.ArrayLike, tied: npt.ArrayLike, k: int) -> Values:
    """1 / log2(1 + rank) when the target is among the first k, else 0.

    >>> ndcg([0, 1, 0, 10], [1, 1, 2, 1], k=10).round(3)
    array([1.   , 0.631, 0.815, 0.   ])
    """
    return _mean_gain(above, tied, 1 / np.log2(np.arange(2, k + 2)))


def mrr(above: npt.ArrayLike, tied: npt.ArrayLike, k: int | None = None) -> Values:
    """1 / rank when the target is among the first k, else 0; without k, at any depth.

    >>> mrr([0, 1, 0, 10], [1, 1, 2, 1], k=10)
    array([1.  , 0.5 , 0.75, 0.  ])
    """
    if k is None:
        ends = np.asarray(above) + np.asarray(tied)
        k = int(ends.max(initial=1))
    return _mean_gain(above, tied, 1 / np.arange(1, k + 1))


METRICS: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike, int], Values]] = {
    "hit": hit,
    "ndcg": ndcg,
    "mrr": mrr,
    "recall": hit,
    "precision": precision,
    "map": mrr,
}
OWN = ("hit", "ndcg", "mrr")
"""What says something of its own where every query has one target."""


def measure(name: str, above: npt.ArrayLike, tied: npt.ArrayLike) -> Values:
    """A metric by the name that recipes use.

    >>> measure("ndcg@10", [1], [1]).round(3)
    array([0.631])
    """
    metric, depth = split_name(name)
    return METRICS[metric](above, tied, depth)


def split_name(name: str) -> tuple[str, int]:
    """`ndcg@10` as ("ndcg", 10); ValueError for what is not a metric at a depth of at least 1."""
    metric, _, depth = name.partition("@")
    if metric not in METRICS or not depth.isdecimal() or int(depth) < 1:
        raise ValueError(f"{name} is not a metric; use one of {', '.join(METRICS)} at a depth, such as ndcg@10")
    return metric, int(depth)


def names(at: list[int], *, several: bool = False, primary: str | None = None) -> list[str]:
    """The metrics of a table at every depth, in the order in which tables show them, `primary` among them.

    With one target a query those that repeat another are left out, unless one is the primary metric; `several` targets
    tell all of them apart.

    >>> names([1, 10])
    ['hit@1', 'hit@10', 'ndcg@1', 'ndcg@10', 'mrr@1', 'mrr@10']
    >>> names([10], primary="recall@10")
    ['hit@10', 'ndcg@10', 'mrr@10', 'recall@10']
    """
    found = [f"{metric}@{k}" for metric in (METRICS if several else OWN) for k in sorted(set(at))]
    return found if primary is None or primary in found else [*found, primary]


def at_chance(name: str, candidates: int) -> float:
    """What a ranker that knows nothing gets on so many candidates: all of them tied.

    >>> at_chance("hit@1", 20)
    0.05
    """
    return float(measure(name, np.array([0]), np.array([candidates]))[0])


def _mean_gain(above: npt.ArrayLike, tied: npt.ArrayLike, gain: Values) -> Values:
    """The mean of gain[rank - 1] over the target's possible ranks; nothing is gained below the last."""
    above, tied = checked_places(above, tied)
    total = np.concatenate([[0.0], np.cumsum(gain)])
    first = np.minimum(np.maximum(above, 0), len(gain))
    last = np.minimum(np.maximum(above, 0) + tied, len(gain))
    return np.where(above < 0, 0.0, (total[last] - total[first]) / tied)


def checked_places(above: npt.ArrayLike, tied: npt.ArrayLike) -> tuple[Counts, Counts]:
    """Both as integer arrays; the group of an unlisted target does not matter and counts as 1."""
    above, tied = np.asarray(above), np.asarray(tied)
    tied = np.where(above < 0, 1, tied)
    if (tied < 1).any():
        raise ValueError("a listed target ties at least with itself: tied must be 1 or more")
    return above, tied
