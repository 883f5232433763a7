"""What lists look like, whoever is right: how much of the catalogue they show, how known, how varied, how fitting.

    coverage     the share of the catalogue that stands among anyone's first k
    gini         how unevenly the first k places are shared out over the catalogue: 0 all alike, 1 one item takes all
    novelty      bits of surprise: the mean of -log2 of an item's share of the training interactions (Zhou et al. 2010);
                 an item that training never met counts as met once
    diversity    1 - Jaccard between two items' values of an attribute, the mean over pairs in the list (Ziegler et al.
                 2005)
    calibration  how far the list's mixture of values is from the history's: the Kullback-Leibler divergence, in nats,
                 of Steck (RecSys 2018), 0 for the same mixture; the list's is smoothed by SMOOTHING of the history's,
                 so that log(1 / SMOOTHING) is the worst
    repeats      the share of the list that the user's history already holds

Coverage and gini are facts about all users at once and have no interval. Lists are cut by rank; where scores tie, the
ranking's own seeded order decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import COUNT, ITEM, QUERY, RANK, USER
from llmrec.evaluate.attribute import Attribute, Floats, Ints
from llmrec.evaluate.per_query import Values
from llmrec.evaluate.resampling import resample

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

SMOOTHING = 0.01  # Steck's alpha
BLOCK = 1 << 18  # numbers of a mixture at once: they fit a processor's cache


def qualities(
    rankings: Mapping[str, Sequence[pl.DataFrame]],
    larder: Larder,
    queries: pl.DataFrame,
    at: list[int],
    *,
    count: int,
    seed: int,
) -> dict[str, dict[str, dict[str, float]]]:
    """ranker -> quality@k -> {"mean", "low", "high"}, over queries, with the interval over users; of coverage and gini
    {"mean"} alone, over training seeds.

    Without an attribute there is no diversity and no calibration, and at depth 1 no diversity. Reads query, item, rank
    of each ranking.
    """
    depths = sorted(set(at))
    attribute = Attribute.of(larder)
    history = History.of(larder, queries)
    wanted = history.mixture(attribute) if attribute else None
    shown: dict[str, dict[str, dict[str, float]]] = {}
    each: dict[str, Floats] = {}
    names: list[str] = []
    for ranker, seeds in rankings.items():
        tops = [first(ranking, queries, depths[-1], larder.n_items) for ranking in seeds]
        shown[ranker] = {name: {"mean": value} for name, value in _of_all(tops, larder.n_items, depths).items()}
        found = [dict(_of_each(top, larder, history, attribute, wanted, depths)) for top in tops]
        names = list(found[0])
        each[ranker] = np.stack([np.stack([one[name] for name in names], axis=1) for one in found])
    means = resample(Values(queries[USER].to_numpy().astype(np.int64), names, each), count, seed=seed)
    for ranker, qualities in shown.items():
        qualities |= {name: means.interval(ranker, name) for name in names}
    return shown


def first(ranking: pl.DataFrame, queries: pl.DataFrame, k: int, n_items: int) -> Ints:
    """The first k items of each query's list, (queries, k), -1 where it is shorter or lists what is no item."""
    listed = ranking.filter(pl.col(RANK).is_between(1, k) & pl.col(ITEM).is_between(0, n_items - 1))
    asked = queries[QUERY].to_numpy()
    order = np.argsort(asked)
    rows = order[np.searchsorted(asked[order], listed[QUERY].to_numpy())]
    top = np.full((len(asked), k), -1, dtype=np.int64)
    top[rows, listed[RANK].to_numpy() - 1] = listed[ITEM].to_numpy()
    return top


@dataclass(frozen=True)
class History:
    """What came before each query: its items one query after another, and whose each is."""

    rows: Ints
    items: Ints
    starts: Ints
    """Where each query's begin, and the end."""
    keys: Ints
    """row * items of the catalogue + item, ascending."""

    @classmethod
    def of(cls, larder: Larder, queries: pl.DataFrame) -> History:
        contexts = larder.contexts(queries)
        lengths = np.array([len(context) for context in contexts], dtype=np.int64)
        items = np.concatenate([*contexts, np.empty(0, dtype=np.int32)]).astype(np.int64)
        rows = np.repeat(np.arange(len(contexts)), lengths)
        keys = np.sort(rows * larder.n_items + items)
        return cls(rows, items, np.concatenate([[0], np.cumsum(lengths)]), keys)

    def mixture(self, attribute: Attribute) -> Floats:
        """The share of each value in each query's history, (queries, values); 0 all along without a history."""
        found = np.zeros((len(self.starts) - 1, attribute.count))
        for some in _blocks(len(found), attribute):
            mine = slice(self.starts[some.start], self.starts[some.stop])
            rows = self.rows[mine] - some.start
            found[some] = _shares(attribute.mixed(rows, self.items[mine], some.stop - some.start))
        return found

    def holds(self, top: Ints, n_items: int) -> npt.NDArray[np.bool_]:
        """Whether each item of each list is in its query's history."""
        wanted = np.arange(len(top))[:, None] * n_items + top
        at = np.minimum(np.searchsorted(self.keys, wanted), max(len(self.keys) - 1, 0))
        return (self.keys[at] == wanted) & (top >= 0) if len(self.keys) else np.zeros(top.shape, dtype=bool)


def _of_all(tops: list[Ints], n_items: int, at: list[int]) -> dict[str, float]:
    """coverage@k and gini@k, averaged over training seeds."""
    times = {k: [np.bincount(top[:, :k][top[:, :k] >= 0], minlength=n_items) for top in tops] for k in at}
    coverage = {f"coverage@{k}": float(np.mean([(one > 0).mean() for one in some])) for k, some in times.items()}
    return coverage | {f"gini@{k}": float(np.mean([gini(one) for one in some])) for k, some in times.items()}


def gini(counts: Ints) -> float:
    """The Gini coefficient of how often each item is shown.

    >>> gini(np.array([3, 3, 3, 3])), gini(np.array([0, 0, 0, 12]))
    (0.0, 0.75)
    """
    n, total = len(counts), counts.sum()
    if not total:
        return 0.0
    return float(2 * (np.arange(1, n + 1) @ np.sort(counts)) / (n * total) - (n + 1) / n)


def _of_each(
    top: Ints, larder: Larder, history: History, attribute: Attribute | None, wanted: Floats | None, at: list[int]
) -> Iterator[tuple[str, Floats]]:
    """quality@k and its value for each query."""
    listed = np.cumsum(top >= 0, axis=1)
    met = np.zeros(larder.n_items)
    met[larder.catalogue[ITEM].to_numpy()] = larder.catalogue[COUNT].to_numpy()
    surprise = -np.log2(np.maximum(met, 1) / max(met.sum(), 1))
    novelty = np.cumsum(np.where(top >= 0, surprise[top], 0.0), axis=1)
    for k in at:
        yield f"novelty@{k}", novelty[:, k - 1] / np.maximum(listed[:, k - 1], 1)
    if attribute is not None and wanted is not None:
        apart = _apart(top, attribute)
        for k in at:
            if k > 1:
                pairs = listed[:, k - 1] * (listed[:, k - 1] - 1) / 2
                yield f"diversity@{k}", apart[:, k - 1] / np.maximum(pairs, 1)
        for k, far in zip(at, _from_history(top, wanted, attribute, at), strict=True):
            yield f"calibration@{k}", far
    again = np.cumsum(history.holds(top, larder.n_items), axis=1)
    for k in at:
        yield f"repeats@{k}", again[:, k - 1] / np.maximum(listed[:, k - 1], 1)


def _apart(top: Ints, attribute: Attribute) -> Floats:
    """1 - Jaccard summed over the pairs among each list's first 1, 2, ... k items, (queries, k)."""
    bits, sizes = attribute.bits(), attribute.each
    apart = np.zeros(top.shape)
    for j in range(1, top.shape[1]):
        for i in range(j):
            a, b = top[:, i], top[:, j]
            shared = np.bitwise_count(bits[a] & bits[b]).sum(axis=1, dtype=np.int64)
            apart[:, j] += np.where((a >= 0) & (b >= 0), 1 - shared / (sizes[a] + sizes[b] - shared), 0.0)
    return np.cumsum(apart, axis=1)


def _from_history(top: Ints, wanted: Floats, attribute: Attribute, at: list[int]) -> list[Floats]:
    """Steck's divergence for each depth; 0 for a query without a history, which asks for no mixture."""
    found = [np.zeros(len(top)) for _ in at]
    for some in _blocks(len(top), attribute):
        part, asked = top[some], wanted[some]
        given = np.zeros_like(asked)
        for (before, k), values in zip(pairwise([0, *at]), found, strict=True):
            rows, columns = np.nonzero(part[:, before:k] >= 0)
            given += attribute.mixed(rows, part[rows, before + columns], len(part))
            smooth = (1 - SMOOTHING) * _shares(given) + SMOOTHING * asked
            ratio = np.divide(asked, smooth, out=np.ones_like(asked), where=asked > 0)
            values[some] = (asked * np.log(ratio)).sum(axis=1)
    return found


def _blocks(rows: int, attribute: Attribute) -> Iterator[slice]:
    step = max(1, BLOCK // attribute.count)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _shares(mixed: Floats) -> Floats:
    shares: Floats = mixed / np.maximum(mixed.sum(axis=1, keepdims=True), 1e-12)
    return shares
