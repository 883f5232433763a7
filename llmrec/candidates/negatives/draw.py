"""k rejected items a query, from the sources in their shares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrec.candidates.negatives.at_once import AtOnce, too_few
from llmrec.candidates.negatives.guards import GUARDS, Guards, Marks
from llmrec.candidates.negatives.pool import Found, Pool
from llmrec.candidates.negatives.sources import SOURCES, Ask, uniform
from llmrec.columns import ITEMS, POSITION, QUERY, RANK, SCORE, SOURCE, TARGET, TIME, USER
from llmrec.data.histories import in_lists
from llmrec.errors import DataFault
from llmrec.recipe.sections import From, Guard
from llmrec.rng import rng_for

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

NEGATIVES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    QUERY: pl.Int64,
    ITEMS: pl.List(pl.Int32),
    SOURCE: pl.List(pl.String),
    RANK: pl.List(pl.Int32),
    SCORE: pl.List(pl.Float32),
    **dict.fromkeys(GUARDS, pl.Int32),
}

OF_DATA = ("recent", "same_attribute", "skipped", "low_rated", "rated_lower", "lesser_behaviour")
"""Sources that not all data have something for."""


class Negatives:
    """Draws rejected items for queries of one larder; a call for a part of the queries gives that part's rows.

    Of k rejected items a source with share s gives floor(k s) or ceil(k s), drawn so that it gives k s on average
    (systematic sampling: with k = 1 every source has its turn). A source that has run out is made up for by `uniform`,
    which is what `source` then says. The target is never given, nor what `guard` bars (by default no item of the user's
    whole history, later ones included), nor an item that reads like one of them, nor two that read alike. Items of
    sources of the user's own history (`SOURCES[name].own`) may be touched ones, and are under all other guards.

    `retrieved` and `played` are rankings (query, item, rank, score) for the sources `retrieved` and `self_play`;
    `among` has all queries (query, target) for `in_batch`. Raises DataFault on unknown sources and on sources whose
    data are not there.
    """

    def __init__(
        self,
        larder: Larder,
        k: int,
        shares: Mapping[str, float] | From,
        *,
        seed: int,
        retrieved: pl.DataFrame | None = None,
        played: pl.DataFrame | None = None,
        among: pl.DataFrame | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.k, self.seed = k, seed
        self.fields = _asked(shares)
        self.names, self.quotas = _quotas(k, self.fields.shares)
        self.pool = Pool(larder, retrieved=retrieved, played=played, among=among, seed=seed)
        self.guards = Guards(self.pool, guard or Guard())
        for name in self.names:
            SOURCES[name].ready(self.pool, getattr(self.fields, name))

    def __call__(self, queries: pl.DataFrame) -> pl.DataFrame:
        """For each query k items; returns query, items, source, rank, score (null where the source has none), in the
        queries' order, and for each guard how many draws it took out.

        Raises DataFault when a user has left too little. Read columns: query, user; where there are any, position, time
        and target.
        """
        if queries.height and AtOnce.can(self.pool, self.guards, self.names):
            drawn = AtOnce(self.pool, self.guards, self.fields, self.k, self.seed)(queries, self.names, self.quotas)
            return drawn.cast(pl.Schema(NEGATIVES_SCHEMA)).select(*NEGATIVES_SCHEMA)
        return self._one_by_one(queries)

    def _one_by_one(self, queries: pl.DataFrame) -> pl.DataFrame:
        """The same for any sources and guards."""
        columns: dict[str, list[object]] = {name: [] for name in NEGATIVES_SCHEMA if name != QUERY}
        known = [name if name in queries.columns else pl.lit(None).alias(name) for name in (POSITION, TIME, TARGET)]
        for row in queries.select(QUERY, USER, *known).iter_rows():
            found, marks = self._found(*row)
            for name, (item, rank, score) in found:
                columns[ITEMS].append(item)
                columns[SOURCE].append(name)
                columns[RANK].append(rank)
                columns[SCORE].append(score)
            for guard, count in marks.out.items():
                columns[guard].append(count)
        kinds = {ITEMS: pl.Int32, SOURCE: pl.String, RANK: pl.Int32, SCORE: pl.Float32}
        starts = np.arange(queries.height + 1) * self.k
        lists = {name: in_lists(pl.Series(columns[name], dtype=kind), starts) for name, kind in kinds.items()}
        return pl.DataFrame({QUERY: queries[QUERY], **columns, **lists}, schema=NEGATIVES_SCHEMA)

    def _found(
        self, query: int, user: int, position: int | None, time: int | None, target: int | None
    ) -> tuple[list[tuple[str, Found]], Marks]:
        """One query's k items, each with its source, in a drawn order; and its marks."""
        rng = rng_for(self.seed, "negatives", query)
        counts = _counts(self.quotas, rng.random())
        marks = self.guards.marks(user, position, time, target)
        free = marks.free
        said = {POSITION: position, TIME: time, TARGET: target}
        found: list[tuple[str, Found]] = []
        for name, count in zip(self.names, counts, strict=True):
            source, fields = SOURCES[name], getattr(self.fields, name)
            for column in source.reads:
                if said[column] is None:
                    raise DataFault(f"pairs.from: {name} reads the queries' {column}s, and query {query} has none.")
            if count:
                seen = target if source.reads_target else None
                luck = rng_for(self.seed, "negatives", name, query)
                ask = Ask(query, luck, self.pool, fields, user, position, time, seen)
                found += [(name, one) for one in self.guards.take(source.stream(ask), count, marks, own=source.own)]
        if len(found) < self.k and free:
            spare = uniform(Ask(query, rng_for(self.seed, "negatives", "spare", query), self.pool))
            found += [("uniform", one) for one in self.guards.take(spare, self.k - len(found), marks)]
        if len(found) < self.k:
            raise DataFault(too_few(user, free, self.k, near=self.guards.near, found=len(found)))
        return [found[place] for place in rng.permutation(self.k).tolist()], marks


def negatives(
    queries: pl.DataFrame,
    larder: Larder,
    k: int,
    shares: Mapping[str, float] | From,
    *,
    retrieved: pl.DataFrame | None = None,
    played: pl.DataFrame | None = None,
    among: pl.DataFrame | None = None,
    guard: Guard | None = None,
    seed: int,
) -> pl.DataFrame:
    """Rejected items for these queries; see `Negatives`. `among` is these queries if it is not given."""
    among = queries if among is None else among
    drawn = Negatives(larder, k, shares, seed=seed, retrieved=retrieved, played=played, among=among, guard=guard)
    return drawn(queries)


def refuse_unmet(larder: Larder, drawn: Iterable[From], guard: Guard) -> None:
    """Raises DataFault where the data lack what a source with a share, or the guard, reads of them.

    Rankings and queries are no part of the data; `Negatives` asks for those.
    """
    pool = Pool(larder)
    Guards(pool, guard)
    for fields in drawn:
        for name in OF_DATA:
            if fields.draws(name):
                SOURCES[name].ready(pool, getattr(fields, name))


def _asked(shares: Mapping[str, float] | From) -> From:
    if isinstance(shares, From):
        return shares
    unknown = [name for name in shares if name not in SOURCES]
    if unknown:
        raise DataFault(f"pairs.from: {unknown[0]} is no source of rejected items; known are {', '.join(SOURCES)}.")
    if sum(shares.values()) <= 0:
        raise DataFault("pairs.from: no source has a share above 0.")
    return From.model_validate(dict(shares))


def _quotas(k: int, shares: Mapping[str, float]) -> tuple[list[str], list[float]]:
    """The sources with a share, in the order of SOURCES, and their cumulative quotas, the last of them exactly k."""
    names = [name for name in SOURCES if shares.get(name, 0) > 0]
    upto = np.cumsum([shares[name] for name in names])
    upto = k * upto / upto[-1]
    upto[-1] = k
    # To a millionth: 0.4 of 5 is 2, not 1.9999999999999998.
    return names, np.round(upto, 6).tolist()


def _counts(upto: list[float], start: float) -> list[int]:
    """How many each source gives: `start`, uniform in [0, 1), rounds the cumulative quotas all in one go."""
    ends = [math.floor(one + start) for one in upto]
    return [end - begin for begin, end in pairwise([0, *ends])]
