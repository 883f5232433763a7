"""Rejected items for training, each with where it came from.

A source is a function from an `Ask` to a stream of items (with the rank and score that it has for them, if any).
Streams know the query's id and the catalogue, never the target; what the user has touched is taken out afterwards. A
new source is one function and one entry in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrec.candidates.histories import readings, whole_histories
from llmrec.candidates.uniform import uniform_stream
from llmrec.columns import COUNT, ITEM, ITEMS, QUERY, RANK, SCORE, SOURCE, USER
from llmrec.errors import DataFault
from llmrec.rng import rng_for

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

Found = tuple[int, int | None, float | None]  # item, its rank and score at the source

NEGATIVES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    QUERY: pl.Int64,
    ITEMS: pl.List(pl.Int32),
    SOURCE: pl.List(pl.String),
    RANK: pl.List(pl.Int32),
    SCORE: pl.List(pl.Float32),
}
POPULAR_DRAWS = 4096  # draws after which `popular` has nothing new to say: the user has touched what everybody has


class Pool:
    """What all queries' streams share: the catalogue's popularity, and what the retriever listed for each query."""

    def __init__(self, larder: Larder, retrieved: pl.DataFrame | None) -> None:
        self.larder, self.n_items, self._ranking = larder, larder.n_items, retrieved

    @cached_property
    def popularity(self) -> np.ndarray:
        """Cumulative training counts by item code: (n_items,) i64."""
        return np.cumsum(self.larder.catalogue.sort(ITEM)[COUNT].to_numpy())

    @cached_property
    def retrieved(self) -> dict[int, list[Found]]:
        """Each query's ranked items."""
        assert self._ranking is not None
        listed = self._ranking.sort(QUERY, RANK).group_by(QUERY, maintain_order=True).agg(ITEM, RANK, SCORE)
        return {query: [*zip(items, ranks, scores, strict=True)] for query, items, ranks, scores in listed.iter_rows()}


@dataclass(frozen=True)
class Ask:
    """One query, as sources see it."""

    query: int
    rng: np.random.Generator
    pool: Pool


def uniform(ask: Ask) -> Iterator[Found]:
    """Every item alike, without end."""
    for item in uniform_stream(ask.rng, ask.pool.n_items):
        yield item, None, None


def popular(ask: Ask) -> Iterator[Found]:
    """Items in proportion to their count in the training prefixes."""
    upto = ask.pool.popularity
    if upto[-1] > 0:
        for _ in range(POPULAR_DRAWS // 64):
            for item in np.searchsorted(upto, ask.rng.integers(upto[-1], size=64), side="right").tolist():
                yield item, None, None


def retrieved(ask: Ask) -> Iterator[Found]:
    """What the retriever ranked for this query, in random order, with its rank and score there."""
    listed = ask.pool.retrieved.get(ask.query, [])
    for place in ask.rng.permutation(len(listed)).tolist():
        yield listed[place]


Source = Callable[[Ask], Iterator[Found]]
SOURCES: dict[str, Source] = {"uniform": uniform, "popular": popular, "retrieved": retrieved}


def negatives(
    queries: pl.DataFrame,
    larder: Larder,
    k: int,
    shares: Mapping[str, float],
    *,
    retrieved: pl.DataFrame | None,
    seed: int,
) -> pl.DataFrame:
    """For each query `k` items that its user never touched, from the sources in the given shares.

    Of k rejected items a source with share s gives floor(k s) or ceil(k s), drawn so that it gives k s on average
    (systematic sampling: with k = 1 every source has its turn). A source that has run out is made up for by `uniform`,
    which is what `source` then says. No item of the user's whole history, target and later ones included, is given,
    nor one that reads like one of them, nor two that read alike.

    Returns query, items, source, rank, score (the last two null where the source has none), in the queries' order.
    Raises DataFault on unknown sources, on a share for `retrieved` without a ranking (query, item, rank, score), and
    when a user has left too little untouched. Read columns: query, user.
    """
    names, quotas = _quotas(k, shares)
    if "retrieved" in names and retrieved is None:
        raise DataFault("pairs.from: retrieved has a share, and there is no ranking of the training queries to read.")
    pool, histories, reads = Pool(larder, retrieved), whole_histories(larder), readings(larder.texts)
    n_readings = int(reads.max(initial=-1)) + 1
    rows: list[tuple[int, list[int], list[str], list[int | None], list[float | None]]] = []
    for query, user in queries.select(QUERY, USER).iter_rows():
        rng = rng_for(seed, "negatives", query)
        counts = _counts(quotas, rng.random())
        taken = np.zeros(n_readings, dtype=bool)
        taken[reads[histories[user]]] = True
        free = n_readings - int(taken.sum())
        if free < k:
            raise DataFault(
                f"pairs: user {user} has left {free} items untouched (items that read alike count once), and "
                f"pairs.rejected is {k}. Lower pairs.rejected, or keep more items (data.min_item)."
            )
        found: list[tuple[str, Found]] = []
        for name, count in zip(names, counts, strict=True):
            found += [(name, one) for one in _take(SOURCES[name](_ask(seed, name, query, pool)), count, reads, taken)]
        short = k - len(found)
        found += [("uniform", one) for one in _take(uniform(_ask(seed, "spare", query, pool)), short, reads, taken)]
        found = [found[place] for place in rng.permutation(k)]
        items, ranks, scores = ([one[part] for _, one in found] for part in range(3))
        rows.append((query, items, [name for name, _ in found], ranks, scores))  # type: ignore[arg-type]
    return pl.DataFrame(rows, schema=NEGATIVES_SCHEMA, orient="row")


def _ask(seed: int, name: str, query: int, pool: Pool) -> Ask:
    return Ask(query, rng_for(seed, "negatives", name, query), pool)


def _take(stream: Iterator[Found], count: int, reads: np.ndarray, taken: np.ndarray) -> list[Found]:
    """Up to `count` items of the stream whose reading is not taken; takes them. `taken: (n_readings,) bool`."""
    found: list[Found] = []
    while len(found) < count:
        one = next(stream, None)
        if one is None:
            break
        if not taken[reads[one[0]]]:
            taken[reads[one[0]]] = True
            found.append(one)
    return found


def _quotas(k: int, shares: Mapping[str, float]) -> tuple[list[str], np.ndarray]:
    """The sources with a share, in the order of SOURCES, and their cumulative quotas, the last of them exactly k."""
    unknown = [name for name in shares if name not in SOURCES]
    if unknown:
        raise DataFault(f"pairs.from: {unknown[0]} is no source of rejected items; known are {', '.join(SOURCES)}.")
    names = [name for name in SOURCES if shares.get(name, 0) > 0]
    if not names:
        raise DataFault("pairs.from: no source has a share above 0.")
    upto = np.cumsum([shares[name] for name in names])
    upto = k * upto / upto[-1]
    upto[-1] = k
    return names, upto


def _counts(upto: np.ndarray, start: float) -> list[int]:
    """How many each source gives: `start`, uniform in [0, 1), rounds the cumulative quotas all in one go."""
    # Rounded to a millionth first: 0.4 of 5 is 2, not 1.9999999999999998.
    ends = np.floor(np.round(upto, 6) + start).astype(int)
    return np.diff(ends, prepend=0).tolist()  # type: ignore[no-any-return]
