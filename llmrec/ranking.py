"""The two tables at which everybody meets: who was asked what (queries) and who answered what (rankings).

    queries   query: i64, user: i32, position: i32, time: i64 or null, target: i32, fold: train / valid / test
    ranking   query: i64, item: i32, rank: i32 from 1, score: f32 finite, ranker: str

A ranking of candidates lists every candidate. A ranking of the catalogue lists the first k items and whatever ties
with the k-th, so that a tie is never cut in two and its expectation can be taken exactly (`places`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.columns import FOLD, ITEM, POSITION, QUERY, RANK, RANKER, SCORE, TARGET, TIME, USER
from llmrec.errors import RankingFault, RunFault
from llmrec.files import replacing
from llmrec.rng import rng_for

QUERIES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    QUERY: pl.Int64,
    USER: pl.Int32,
    POSITION: pl.Int32,
    TIME: pl.Int64,
    TARGET: pl.Int32,
    FOLD: pl.String,
}
RANKING_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    QUERY: pl.Int64,
    ITEM: pl.Int32,
    RANK: pl.Int32,
    SCORE: pl.Float32,
    RANKER: pl.String,
}
NOTHING = np.iinfo(np.int32).min  # no item's code
PART = 1 << 17  # rows at once: they fit a processor's cache


def ranked(query: np.ndarray, item: np.ndarray, score: np.ndarray, *, ranker: str, seed: int) -> pl.DataFrame:
    """A ranking table from one score for each (query, item); equal scores are put in seeded random order.

    The three arrays have one entry for each row. Raises RankingFault on scores that are not finite: sorted, they would
    keep the order in which candidates happened to be listed, and look like an answer.
    """
    score = np.asarray(score, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(score))
    if len(bad):
        raise RankingFault(
            f"{ranker}: {len(bad):,} scores are not finite, first for query {query[bad[0]]}, item {item[bad[0]]} "
            f"({score[bad[0]]}). A ranking needs finite scores."
        )
    luck = rng_for(seed, "ties", ranker).random(len(score))
    order = np.lexsort((luck, -score, query))
    query, item, score = query[order], item[order], score[order]
    starts = np.flatnonzero(np.r_[True, query[1:] != query[:-1]]) if len(query) else np.empty(0, dtype=int)
    rank = np.arange(len(query)) - np.repeat(starts, np.diff(np.r_[starts, len(query)])) + 1
    columns = {QUERY: query, ITEM: item, RANK: rank, SCORE: score}
    return (
        pl.DataFrame(columns)
        .with_columns(pl.lit(ranker).alias(RANKER))
        .cast(pl.Schema(RANKING_SCHEMA))
        .select(*RANKING_SCHEMA)
    )


def arm_and_seed(name: str) -> tuple[str, int | None]:
    """Whose training seed a ranker is, by the name of its folder (`<arm>-s<seed>`), and which; None where it has none.

    >>> arm_and_seed("orpo-s7"), arm_and_seed("orpo")
    (('orpo', 7), ('orpo', None))
    """
    found = re.fullmatch(r"(.+)-s([0-9]+)", name)
    return (found[1], int(found[2])) if found else (name, None)


def places(ranking: pl.DataFrame | pl.LazyFrame, queries: pl.DataFrame) -> pl.DataFrame:
    """Where each query's target stands: `above` items score higher, `tied` (itself included) score the same.

    Adds `above: i64 or null` and `tied: i64 or null` to the queries; null where the ranking does not list the target,
    which is a miss. A query with several targets has a row for each. Read columns: query, target; query, item, score.
    A scan of a file (`pl.scan_parquet`) is read a part at a time and never held whole, if it is in the order of its
    queries.
    """
    keys, which = np.unique(queries[QUERY].to_numpy(), return_inverse=True)
    turns = queries.select(pl.int_range(pl.len()).over(QUERY)).to_series().to_numpy()
    targets = np.full((int(turns.max(initial=-1)) + 1, len(keys)), NOTHING, dtype=np.int64)
    targets[turns, which] = queries[TARGET].to_numpy()
    above, tied = np.full(targets.shape, -1), np.full(targets.shape, -1)
    for query, item, score in _whole_lists(ranking) if len(keys) else ():
        starts = np.flatnonzero(np.r_[True, query[1:] != query[:-1]])
        lengths = np.diff(starts, append=len(query))
        at = np.minimum(np.searchsorted(keys, query[starts]), len(keys) - 1)
        asked = keys[at] == query[starts]
        for turn, wanted in enumerate(targets):
            found = np.flatnonzero(item == np.repeat(np.where(asked, wanted[at], NOTHING).astype(item.dtype), lengths))
            lists = np.searchsorted(starts, found, side="right") - 1
            bars = np.full(len(starts), np.nan, dtype=score.dtype)
            bars[lists] = score[found]
            bar = np.repeat(bars, lengths)
            for count, ahead in ((above, score > bar), (tied, score == bar)):
                count[turn, at[lists]] = np.add.reduceat(ahead.view(np.int8), starts, dtype=np.int64)[lists]
    columns = [pl.Series(name, count[turns, which]) for name, count in (("above", above), ("tied", tied))]
    return queries.with_columns(pl.when(column >= 0).then(column).alias(column.name) for column in columns)


def _whole_lists(ranking: pl.DataFrame | pl.LazyFrame) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Queries, items and scores, some whole lists at a time, in the order of the queries."""
    table = ranking.select(QUERY, ITEM, SCORE)
    unsorted = table.lazy().select((pl.col(QUERY) < pl.col(QUERY).shift()).any())
    if unsorted.collect(engine="streaming").item():
        table = table.sort(QUERY)
    rest: list[pl.DataFrame] = []  # of a list that the part before cut in two
    parts = table.iter_slices(PART) if isinstance(table, pl.DataFrame) else table.collect_batches(maintain_order=True)
    for part in parts:
        query = part[QUERY].to_numpy()
        cut = int(np.searchsorted(query, query[-1])) if len(query) else 0
        if not cut:
            rest.append(part)
            continue
        yield _columns([*rest, part[:cut]])
        rest = [part[cut:]]
    if sum(part.height for part in rest):
        yield _columns(rest)


def _columns(parts: list[pl.DataFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = pl.concat(parts)
    return table[QUERY].to_numpy(), table[ITEM].to_numpy(), table[SCORE].to_numpy()


def checked_queries(table: pl.DataFrame, *, where: str = "queries", several: bool = False) -> pl.DataFrame:
    """The queries with their columns in house types, or RankingFault naming the first thing wrong.

    With `several`, a query may have several targets, each in a row of its own.
    """
    table = _typed(table, QUERIES_SCHEMA, where, optional={TIME, POSITION})
    repeated = table.filter(pl.col(QUERY).is_duplicated())
    if several and repeated.height:
        torn = repeated.filter(pl.any_horizontal(pl.col(USER, FOLD).n_unique().over(QUERY) > 1))
        if torn.height:
            raise RankingFault(f"{where}: the rows of query {torn[QUERY][0]} differ in user or fold; only targets may.")
        repeated = repeated.filter(pl.struct(QUERY, TARGET).is_duplicated())
        if repeated.height:
            raise RankingFault(f"{where}: query {repeated[QUERY][0]} has target {repeated[TARGET][0]} more than once.")
    if repeated.height:
        raise RankingFault(
            f"{where}: query {repeated[QUERY][0]} stands {repeated.height} times; a query is asked once."
        )
    return table


def checked_ranking(table: pl.DataFrame, *, where: str = "ranking") -> pl.DataFrame:
    """The ranking with its columns in house types, or RankingFault: scores finite, an item once a query, one ranker."""
    table = _typed(table, RANKING_SCHEMA, where, optional=set())
    bad = table.filter(~pl.col(SCORE).is_finite())
    if bad.height:
        raise RankingFault(
            f"{where}: {bad.height:,} scores are not finite, first for query {bad[QUERY][0]}, item {bad[ITEM][0]}. "
            "A ranking needs finite scores."
        )
    twice = table.filter(pl.struct(QUERY, ITEM).is_duplicated())
    if twice.height:
        raise RankingFault(
            f"{where}: {twice.height:,} rows list an item again: query {twice[QUERY][0]} lists item "
            f"{twice[ITEM][0]} more than once. List each item once."
        )
    names = table[RANKER].unique().to_list()
    if len(names) > 1:
        raise RankingFault(f"{where}: one file holds one ranker; found {', '.join(sorted(names))}.")
    return table


def read_ranking(path: Path) -> pl.DataFrame:
    """A ranking of ours from Parquet, checked."""
    return checked_ranking(read_table(path), where=str(path))


def read_table(path: Path) -> pl.DataFrame:
    """A table that a stage of ours wrote. Raises RunFault where the file is damaged."""
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError) as fault:
        raise RunFault(
            f"{path}: damaged ({str(fault).splitlines()[0]}). Delete it and run again: what wrote it is done anew."
        ) from None


def write_parquet(table: pl.DataFrame, path: Path) -> Path:
    """Writes under a temporary name, then renames: a reader never meets half a table."""
    with replacing(path) as partial:
        table.write_parquet(partial)
    return path


def _typed(
    table: pl.DataFrame, schema: dict[str, pl.DataType | type[pl.DataType]], where: str, optional: set[str]
) -> pl.DataFrame:
    missing = [c for c in schema if c not in table.columns and c not in optional]
    if missing:
        raise RankingFault(f"{where}: column {', '.join(missing)} missing; found {', '.join(table.columns)}.")
    table = table.with_columns(pl.lit(None, schema[c]).alias(c) for c in schema if c not in table.columns)
    try:
        table = table.select(pl.col(c).cast(t) for c, t in schema.items())
    except pl.exceptions.PolarsError as fault:
        raise RankingFault(f"{where}: {str(fault).splitlines()[0]}. Expected {schema}.") from None
    holes = [c for c in schema if c not in optional and table[c].null_count()]
    if holes:
        raise RankingFault(f"{where}: column {holes[0]} has {table[holes[0]].null_count():,} empty values.")
    return table
