"""Rejected items for a table of queries at once: what `Negatives` draws one by one, bit for bit, without that loop.

Only sources whose every draw is one number of a stream can be drawn so, `uniform` and `popular`, and only under the
guards that every recipe has. Draws are looked at a column at a time, one a query; a query that has enough leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import polars as pl

from llmrec.candidates.negatives.guards import GUARDS, NEAR_TEXT, SAME_TITLE, TOUCHED, Guards
from llmrec.candidates.negatives.pool import Pool
from llmrec.candidates.negatives.sources import DRAWS
from llmrec.columns import ITEMS, QUERY, RANK, SCORE, SOURCE, TARGET, USER
from llmrec.data.histories import in_lists
from llmrec.errors import DataFault
from llmrec.recipe.sections import From
from llmrec.streams import Streams

AT_ONCE = ("uniform", "popular")  # the sources that are drawn here
ROOM = 1 << 25  # bytes for what some users have touched: two a user and item

Source = tuple[Callable[[Streams], np.ndarray], int | None]  # one more draw of each stream, and how many at most


class AtOnce:
    """Draws for queries of one larder; what all of them share."""

    def __init__(self, pool: Pool, guards: Guards, fields: From, k: int, seed: int) -> None:
        self.pool, self.guards, self.fields, self.k, self.seed = pool, guards, fields, k, seed
        self.items, self.starts = pool.larder.flat
        self.n_items = pool.n_items

    @classmethod
    def can(cls, pool: Pool, guards: Guards, names: list[str]) -> bool:
        """Whether these sources can be drawn at once, under these guards."""
        plain = guards.after is None and guards.near is None and all(name in AT_ONCE for name in names)
        return plain and len(pool.larder.flat[0]) < 1 << 32  # so many counts are drawn from 32 bits

    def __call__(self, queries: pl.DataFrame, names: list[str], quotas: list[float]) -> pl.DataFrame:
        """query, items, source, rank, score and what each guard took out, in the queries' order.

        Raises DataFault when a user has left too little untouched. Read columns: query, user, and target if there.
        """
        return pl.concat([self._some(part, names, quotas) for part in self._parts(queries)])

    def _parts(self, queries: pl.DataFrame) -> list[pl.DataFrame]:
        """Runs of queries whose users' touched items fit into ROOM."""
        users = queries[USER].to_numpy()
        turn = np.cumsum(np.r_[False, users[1:] != users[:-1]])
        each = max(1, ROOM // max(2 * self.n_items, 1))
        cuts = np.flatnonzero(np.diff(turn // each)) + 1
        return [queries[a:b] for a, b in pairwise([0, *cuts.tolist(), len(users)])]

    def _some(self, queries: pl.DataFrame, names: list[str], quotas: list[float]) -> pl.DataFrame:
        keys, users = queries[QUERY].to_numpy(), queries[USER].to_numpy()
        targets = queries[TARGET].to_numpy() if TARGET in queries.columns else np.full(len(keys), -1)
        distinct, owner = np.unique(users, return_inverse=True)
        met, barred = self._touched(distinct)
        self._expect_enough(barred, distinct[owner], owner, targets)
        first = Streams.of(self.seed, "negatives", keys=keys)
        ends = np.floor(np.asarray(quotas)[None, :] + first.random()[:, None]).astype(np.int64)
        wanted = np.diff(ends, prepend=0, axis=1)
        taker = _Taker(met, barred, owner, targets, self.guards.reads, self.k)
        for place, name in enumerate(names):
            taker.take(self._source(name), wanted[:, place], keys, (self.seed, "negatives", name), names.index(name))
        names = [*names, "uniform"]
        spare = (self.seed, "negatives", "spare")
        taker.take(self._source("uniform"), self.k - taker.have, keys, spare, len(names) - 1)
        dealt = first.permutation(self.k)
        items, sources = (np.take_along_axis(part, dealt, axis=1) for part in (taker.found, taker.source))
        return _table(keys, items, sources, names, taker.out)

    def _source(self, name: str) -> Source:
        if name == "uniform":
            return lambda streams: streams.integers(self.n_items), None
        assert self.fields.popular is not None
        upto, whole = self.pool.popularity(self.fields.popular.exponent), self.fields.popular.exponent == 1
        if not upto[-1] > 0:
            return lambda streams: np.empty(0, dtype=np.int64), 0

        def draw(streams: Streams) -> np.ndarray:
            drawn: np.ndarray = streams.integers(int(upto[-1])) if whole else streams.random() * upto[-1]
            return np.searchsorted(upto, drawn, side="right")

        return draw, DRAWS

    def _touched(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which items each user has met, and which readings: (users, items) and (users, readings) bool."""
        first, lengths = self.starts[users], self.starts[users + 1] - self.starts[users]
        at = np.repeat(first - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        who, items = np.repeat(np.arange(len(users)), lengths), self.items[at]
        met = np.zeros((len(users), self.n_items), dtype=bool)
        met[who, items] = True
        if self.guards.n_readings == self.n_items:  # readings are numbered as they come: all differ, so all agree
            return met, met
        barred = np.zeros((len(users), self.guards.n_readings), dtype=bool)
        barred[who, self.guards.reads[items]] = True
        return met, barred

    def _expect_enough(self, barred: np.ndarray, users: np.ndarray, owner: np.ndarray, targets: np.ndarray) -> None:
        free = (barred.shape[1] - np.count_nonzero(barred, axis=1))[owner]
        known = targets >= 0
        free[known] -= ~barred[owner[known], self.guards.reads[targets[known]]]
        short = np.flatnonzero(free < self.k)
        if len(short):
            raise DataFault(too_few(users[short[0]], free[short[0]], self.k))


def too_few(user: int, free: int, k: int, *, near: float | None = None, found: int = 0) -> str:
    """What to say of a user who has touched nearly everything, or nearly all of what is not `near` something else."""
    return (
        f"pairs: user {user} has left {free} items untouched (items that read alike count once)"
        + ("" if near is None else f", {found} of which are not near each other")
        + f", and pairs.rejected is {k}. Lower pairs.rejected, or keep more items (data.min_item)"
        + ("." if near is None else ", or raise pairs.guard.near_text.")
    )


class _Taker:
    """What has been found for each query: items and sources (n, k), of which the first `have` (n,) are filled."""

    def __init__(
        self, met: np.ndarray, barred: np.ndarray, owner: np.ndarray, targets: np.ndarray, reads: np.ndarray, k: int
    ) -> None:
        self.met, self.barred, self.owner, self.targets, self.reads = met, barred, owner, targets, reads
        self.found, self.source = np.full((len(owner), k), -1, dtype=np.int32), np.zeros((len(owner), k), dtype=np.int8)
        self.seen = np.full((len(owner), k + 1), -1, dtype=np.int32)  # readings: those given, and the target's
        self.seen[:, k] = np.where(targets >= 0, reads[targets], -1)
        self.have = np.zeros(len(owner), dtype=np.int64)
        self.out = {guard: np.zeros(len(owner), dtype=np.int32) for guard in GUARDS}

    def take(
        self, source: Source, wanted: np.ndarray, keys: np.ndarray, purpose: tuple[int, str, str], number: int
    ) -> None:
        """Up to `wanted` (n,) items of the source a query whose reading is not taken."""
        draw, most = source
        rows = np.flatnonzero(wanted > 0)
        until = self.have + wanted
        if not len(rows) or most == 0:
            return
        streams, draws = Streams.of(*purpose, keys=keys[rows]), 0
        while len(rows) and (most is None or draws < most):
            items = draw(streams)
            draws += 1
            reads = self.reads[items]
            free = ~self.barred[self.owner[rows], reads] & (self.seen[rows] != reads[:, None]).all(axis=1)
            lucky, place = rows[free], self.have[rows[free]]
            self._count(rows[~free], items[~free])
            self.found[lucky, place], self.seen[lucky, place] = items[free], reads[free]
            self.source[lucky, place] = number
            self.have[lucky] += 1
            stays = self.have[rows] < until[rows]
            if not stays.all():
                rows, streams = rows[stays], streams.some(stays)

    def _count(self, rows: np.ndarray, items: np.ndarray) -> None:
        """Counts draws that were taken out, each under its guard; what was given already is merely drawn again."""
        touched = self.met[self.owner[rows], items] | (items == self.targets[rows])
        again = (self.found[rows] == items[:, None]).any(axis=1)
        self.out[TOUCHED][rows[touched & ~again]] += 1  # a row comes once
        self.out[SAME_TITLE][rows[~touched & ~again]] += 1


def _table(
    keys: np.ndarray, items: np.ndarray, sources: np.ndarray, names: list[str], out: dict[str, np.ndarray]
) -> pl.DataFrame:
    flat = pl.Series(names).gather(sources.ravel().astype(np.uint32))
    starts = np.arange(len(keys) + 1) * items.shape[1]
    return pl.DataFrame(
        {
            QUERY: keys,
            ITEMS: in_lists(pl.Series(items.ravel()), starts),
            SOURCE: in_lists(flat, starts),
            RANK: in_lists(pl.repeat(None, items.size, dtype=pl.Int32, eager=True), starts),
            SCORE: in_lists(pl.repeat(None, items.size, dtype=pl.Float32, eager=True), starts),
            **{guard: out[guard] for guard in (TOUCHED, SAME_TITLE, NEAR_TEXT)},
        }
    )
