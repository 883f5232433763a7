"""Rejected items for a table of queries at once: the draws of `negatives`, bit for bit, without a loop over queries.

Only sources whose every draw is an integer from a stream can be drawn so: `uniform` and `popular`. A column of draws,
one a query, is looked at a time; a query that has what it needs leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrec.candidates.histories import readings
from llmrec.candidates.negatives import NEGATIVES_SCHEMA, POPULAR_DRAWS, _quotas, negatives
from llmrec.columns import COUNT, ITEM, ITEMS, QUERY, RANK, SCORE, SOURCE, USER
from llmrec.errors import DataFault
from llmrec.streams import Streams

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

AT_ONCE = ("uniform", "popular")  # the sources that are drawn here
ROOM = 1 << 25  # bytes for what some users have touched: one a user and reading


class Drawn:
    """`negatives` for any queries of a larder: at once where all its sources allow it."""

    def __init__(
        self, larder: Larder, k: int, shares: Mapping[str, float], *, retrieved: pl.DataFrame | None, seed: int
    ) -> None:
        self.larder, self.k, self.shares, self.retrieved, self.seed = larder, k, shares, retrieved, seed
        self.draws = Draws(larder)

    def __call__(self, queries: pl.DataFrame) -> pl.DataFrame:
        """query, items, source, rank, score, in the queries' order. Raises DataFault as `negatives` does."""
        if self.draws.can(self.shares):
            return self.draws.negatives(queries, self.k, self.shares, seed=self.seed)
        return negatives(queries, self.larder, self.k, self.shares, retrieved=self.retrieved, seed=self.seed)


class Draws:
    """What all queries share: what is touched by whom, what reads alike, and how often each item was met."""

    def __init__(self, larder: Larder) -> None:
        self.items, self.starts = larder.flat
        self.reads = readings(larder.texts)
        self.n_items, self.n_readings = larder.n_items, int(self.reads.max(initial=-1)) + 1
        self.popularity = np.cumsum(larder.catalogue.sort(ITEM)[COUNT].to_numpy())

    def can(self, shares: Mapping[str, float]) -> bool:
        """Whether all sources with a share can be drawn here."""
        few = len(self.popularity) == 0 or self.popularity[-1] < 1 << 32
        return few and all(name in AT_ONCE for name, share in shares.items() if share > 0)

    def negatives(self, queries: pl.DataFrame, k: int, shares: Mapping[str, float], *, seed: int) -> pl.DataFrame:
        """As `llmrec.candidates.negatives.negatives` gives them: query, items, source, rank, score.

        Raises DataFault when a user has left too little untouched. Read columns: query, user.
        """
        names, quotas = _quotas(k, shares)
        made = [self._some(part, k, names, quotas, seed) for part in self._parts(queries)]
        return pl.concat(made) if made else pl.DataFrame(schema=NEGATIVES_SCHEMA)

    def _parts(self, queries: pl.DataFrame) -> list[pl.DataFrame]:
        """Runs of queries whose users' touched readings fit into ROOM."""
        users = queries[USER].to_numpy()
        turn = np.cumsum(np.r_[False, users[1:] != users[:-1]]) if len(users) else np.empty(0, dtype=int)
        each = max(1, ROOM // max(self.n_readings, 1))
        cuts = np.flatnonzero(np.diff(turn // each)) + 1
        ends = [0, *cuts.tolist(), len(users)]
        return [queries[a:b] for a, b in pairwise(ends) if b > a]

    def _some(self, queries: pl.DataFrame, k: int, names: list[str], quotas: np.ndarray, seed: int) -> pl.DataFrame:
        keys, users = queries[QUERY].to_numpy(), queries[USER].to_numpy()
        distinct, owner = np.unique(users, return_inverse=True)
        touched = self._touched(distinct)
        self._expect_enough(touched, distinct[owner], owner, k)
        first = Streams.of(seed, "negatives", keys=keys)
        # Rounded to a millionth first, as `negatives` does: 0.4 of 5 is 2, not 1.9999999999999998.
        ends = np.floor(np.round(quotas, 6)[None, :] + first.random()[:, None]).astype(np.int64)
        wanted = np.diff(ends, prepend=0, axis=1)
        taker = _Taker(touched, owner, self.reads, k)
        for place, name in enumerate(names):
            taker.take(self._source(name), wanted[:, place], keys, seed, name, names.index(name))
        names = [*names, "uniform"]
        taker.take(self._source("uniform"), k - taker.have, keys, seed, "spare", len(names) - 1)
        dealt = first.permutation(k)
        items, sources = (np.take_along_axis(part, dealt, axis=1) for part in (taker.found, taker.source))
        return _table(keys, items, sources, names)

    def _source(self, name: str) -> tuple[Callable[[Streams], np.ndarray], int | None]:
        """One more draw of each stream, and how many there are at most."""
        if name == "uniform":
            return lambda streams: streams.integers(self.n_items), None
        total = int(self.popularity[-1])
        if not total:
            return lambda streams: np.empty(0, dtype=np.int64), 0
        return lambda streams: np.searchsorted(self.popularity, streams.integers(total), side="right"), POPULAR_DRAWS

    def _touched(self, users: np.ndarray) -> np.ndarray:
        """Which readings each user has met: (users, readings) bool."""
        touched = np.zeros((len(users), self.n_readings), dtype=bool)
        first, lengths = self.starts[users], self.starts[users + 1] - self.starts[users]
        at = np.repeat(first - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        touched[np.repeat(np.arange(len(users)), lengths), self.reads[self.items[at]]] = True
        return touched

    def _expect_enough(self, touched: np.ndarray, users: np.ndarray, owner: np.ndarray, k: int) -> None:
        free = self.n_readings - np.count_nonzero(touched, axis=1)
        short = np.flatnonzero(free[owner] < k)
        if len(short):
            raise DataFault(
                f"pairs: user {users[short[0]]} has left {free[owner[short[0]]]} items untouched (items that read "
                f"alike count once), and pairs.rejected is {k}. Lower pairs.rejected, or keep more items "
                "(data.min_item)."
            )


class _Taker:
    """What has been found for each query: items and sources (n, k), of which the first `have` (n,) are filled."""

    def __init__(self, touched: np.ndarray, owner: np.ndarray, reads: np.ndarray, k: int) -> None:
        self.touched, self.owner, self.reads = touched, owner, reads
        self.found, self.source = np.zeros((len(owner), k), dtype=np.int32), np.zeros((len(owner), k), dtype=np.int8)
        self.seen = np.full((len(owner), k), -1, dtype=np.int32)
        self.have = np.zeros(len(owner), dtype=np.int64)

    def take(
        self,
        source: tuple[Callable[[Streams], np.ndarray], int | None],
        wanted: np.ndarray,
        keys: np.ndarray,
        seed: int,
        purpose: str,
        number: int,
    ) -> None:
        """Up to `wanted` (n,) items of the source a query whose reading is not taken."""
        draw, most = source
        rows = np.flatnonzero(wanted > 0)
        until = self.have + wanted
        if not len(rows) or most == 0:
            return
        streams, draws = Streams.of(seed, "negatives", purpose, keys=keys[rows]), 0
        while len(rows) and (most is None or draws < most):
            items = draw(streams)
            draws += 1
            reads = self.reads[items]
            free = ~self.touched[self.owner[rows], reads] & (self.seen[rows] != reads[:, None]).all(axis=1)
            lucky, place = rows[free], self.have[rows[free]]
            self.found[lucky, place], self.seen[lucky, place] = items[free], reads[free]
            self.source[lucky, place] = number
            self.have[lucky] += 1
            stays = self.have[rows] < until[rows]
            if not stays.all():
                rows, streams = rows[stays], streams.some(stays)


def _table(keys: np.ndarray, items: np.ndarray, sources: np.ndarray, names: list[str]) -> pl.DataFrame:
    flat = pl.Series(names).gather(sources.ravel().astype(np.uint32))
    shape = sources.shape
    return pl.DataFrame(
        {
            QUERY: keys,
            ITEMS: pl.Series(items.astype(np.int32)).cast(pl.List(pl.Int32)),
            SOURCE: flat.reshape(shape).cast(pl.List(pl.String)),
            RANK: pl.repeat(None, items.size, dtype=pl.Int32, eager=True).reshape(shape).cast(pl.List(pl.Int32)),
            SCORE: pl.repeat(None, items.size, dtype=pl.Float32, eager=True).reshape(shape).cast(pl.List(pl.Float32)),
        },
        schema=NEGATIVES_SCHEMA,
    )
