"""Three judges that learn nothing: what everybody watches, what everybody watches lately, what followed what.

A model below these floors is not worth serving. All three count training interactions only, so nothing that a model may
not be fitted on moves them. Counts are exact; popularity decides between items whose counts are equal, and never more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.data.larder import Larder
from llmrec.rank.scorer import Scorer

RECENT_SECONDS = 30 * 24 * 3600  # of training data that `recent` counts
RECENT_SHARE = 0.1  # of each user's training interactions that it counts where there are no times
WINDOW = 3  # items of context that `transitions` looks at; weights 1, 1/2, 1/3 from the last one backwards


@dataclass(frozen=True)
class Popularity:
    """Ranks items by how many training interactions they have, whoever asks."""

    counts: np.ndarray  # (n_items,)
    name: str = "popularity"

    @classmethod
    def fit(cls, larder: Larder) -> Popularity:
        """Counts the training prefixes."""
        return cls(_counts(np.concatenate([*larder.training(), np.empty(0, np.int32)]), larder.n_items))

    def scores(self, contexts: Sequence[np.ndarray], times: Sequence[np.ndarray] | None = None) -> np.ndarray:
        return np.tile(self.counts.astype(np.float32), (len(contexts), 1))


@dataclass(frozen=True)
class Recent:
    """Ranks items by their training interactions of the last 30 days before the query.

    The 30 days end at the last training interaction strictly before the query's own moment, so a query long after the
    end of the training data looks at its last 30 days, and no query looks at its own future. A query without a moment
    looks at the end of all training data. Where the data have no times at all, the last tenth of each user's training
    interactions is counted (at least one). Popularity over all training data decides ties.
    """

    items: np.ndarray  # (n,) training interactions in the order of time
    times: np.ndarray | None  # (n,) in seconds, or None: `items` is the last tenth of each user's
    counts: np.ndarray  # (n_items,) over all training data
    name: str = "recent"

    @classmethod
    def fit(cls, larder: Larder) -> Recent:
        """Sorts the training prefixes by time, or keeps the end of each where there are no times."""
        training, moments = larder.training(), larder.training_moments()
        counts = Popularity.fit(larder).counts
        if moments is not None and len(moments):
            times = np.concatenate(moments)
            order = np.argsort(times, kind="stable")
            return cls(np.concatenate(training)[order], times[order], counts)
        ends = [h[len(h) - int(np.ceil(len(h) * RECENT_SHARE)) :] for h in training]
        return cls(np.concatenate([*ends, np.empty(0, np.int32)]), None, counts)

    def scores(self, contexts: Sequence[np.ndarray], times: Sequence[np.ndarray] | None = None) -> np.ndarray:
        n_items = len(self.counts)
        nudge = _nudge(self.counts, smallest=1.0)
        if self.times is None or not len(self.times):
            return np.tile((_counts(self.items, n_items) + nudge).astype(np.float32), (len(contexts), 1))
        asked = [np.inf] * len(contexts) if times is None else [moments[-1] for moments in times]
        until = np.nan_to_num(np.array(asked, dtype=np.float64), nan=np.inf, posinf=np.inf)
        stops = np.searchsorted(self.times, until, side="left")
        # The window's last interaction, or the very first where nothing came before the query: an empty window then.
        last = self.times[np.maximum(stops - 1, 0)]
        starts = np.minimum(np.searchsorted(self.times, last - RECENT_SECONDS, side="left"), stops)
        scores = np.empty((len(contexts), n_items), dtype=np.float32)
        # Queries in the order of time: from one to the next, the window only gains and loses its ends.
        window, start, stop = np.zeros(n_items), 0, 0
        for row in np.lexsort((starts, stops)):
            window += _counts(self.items[stop : stops[row]], n_items)
            window -= _counts(self.items[start : starts[row]], n_items)
            start, stop = starts[row], stops[row]
            scores[row] = window + nudge
        return scores


@dataclass(frozen=True)
class Transitions:
    """Ranks items by how often they followed the last three of the history in training data.

    An item that stood d places after another adds 1/d to that pair, d up to 3; the history's last item speaks with
    weight 1, the one before with 1/2, the third with 1/3. It learns nothing, and beats many a published model.
    """

    starts: np.ndarray  # (n_items + 1,) where each item's followers begin
    followers: np.ndarray  # (nnz,) item codes
    weights: np.ndarray  # (nnz,)
    counts: np.ndarray  # (n_items,)
    name: str = "transitions"

    @classmethod
    def fit(cls, larder: Larder) -> Transitions:
        """Counts pairs up to three places apart within each training prefix."""
        return cls.count(larder.training(), larder.n_items)

    @classmethod
    def count(cls, training: Sequence[np.ndarray], n_items: int) -> Transitions:
        """Counts pairs up to three places apart within each of some histories of item codes."""
        items = np.concatenate([*training, np.empty(0, np.int32)]).astype(np.int64)
        users = np.repeat(np.arange(len(training)), [len(h) for h in training])
        keys, weights = [np.empty(0, np.int64)], [np.empty(0)]
        for d in range(1, WINDOW + 1):
            same = users[d:] == users[:-d]
            pairs, times = np.unique((items[:-d] * n_items + items[d:])[same], return_counts=True)
            keys.append(pairs)
            weights.append(times / d)
        pairs, where = np.unique(np.concatenate(keys), return_inverse=True)
        summed = np.bincount(where, weights=np.concatenate(weights), minlength=len(pairs))
        starts = np.searchsorted(pairs, np.arange(n_items + 1) * n_items)
        return cls(starts, pairs % n_items, summed, _counts(items, n_items))

    def scores(self, contexts: Sequence[np.ndarray], times: Sequence[np.ndarray] | None = None) -> np.ndarray:
        n_items = len(self.counts)
        total = np.zeros(len(contexts) * n_items)
        for d in range(1, WINDOW + 1):
            rows = np.flatnonzero([len(context) >= d for context in contexts]).astype(np.int64)
            before = np.array([context[-d] for context in contexts if len(context) >= d], dtype=np.int64)
            lengths = self.starts[before + 1] - self.starts[before]
            # Every follower of every item, flat: where its item's followers begin, plus how many came before it.
            within = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
            cells = np.repeat(self.starts[before], lengths) + within
            at = np.repeat(rows, lengths) * n_items + self.followers[cells]
            total += np.bincount(at, weights=self.weights[cells] / d, minlength=len(total))
        # Pair weights are sums of 1, 1/2, 1/3, spoken with weights 1, 1/2, 1/3: no two totals are nearer than 1/36.
        nudge = _nudge(self.counts, smallest=1 / 36)
        return np.asarray(total.reshape(len(contexts), n_items) + nudge, dtype=np.float32)


FLOORS: dict[str, Callable[[Larder], Scorer]] = {
    "popularity": Popularity.fit,
    "recent": Recent.fit,
    "transitions": Transitions.fit,
}
"""Floors by the names that recipes use: each is fitted on a larder's training prefixes and gives a scorer."""


def _counts(items: np.ndarray, n_items: int) -> np.ndarray:
    return np.bincount(items, minlength=n_items).astype(np.float64)


def _nudge(counts: np.ndarray, *, smallest: float) -> np.ndarray:
    """Popularity squeezed below half the smallest difference that two scores can have: it decides ties only."""
    return np.asarray(counts / (counts.max(initial=0) + 1) * smallest / 2)
