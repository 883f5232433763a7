"""The larder: what `prepare` writes and every other room reads.

histories.parquet   user, items, times, train    users.parquet     user, key
catalogue.parquet   item, key, <fields>, text, count
queries.parquet     query, user, position, time, target, fold
declined.parquet    user, item, time, reason, rating: what a user was shown and passed over, or took and rated low

Histories also have ratings (list[f32]) and behaviours (list[u8], places in the recipe's list) where the data have them.

rejected_rows.parquet   file, line, reason, user, item, raw
summary.json            see `Summary`
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.columns import BEHAVIOURS, FOLD, ITEM, ITEMS, POSITION, QUERY, TARGET, TEXT, TIME, TIMES, TRAIN, USER
from llmrec.data import splits
from llmrec.data.histories import time_unit
from llmrec.errors import RunFault
from llmrec.ranking import QUERIES_SCHEMA, read_table, write_parquet
from llmrec.rng import rng_for

TABLES = ("histories", "catalogue", "queries", "users")
DECLINED_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    USER: pl.Int32,
    ITEM: pl.Int32,
    TIME: pl.Int64,
    "reason": pl.String,
    "rating": pl.Float32,
}
A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}  # in the unit that the data's times count


@dataclass(frozen=True)
class Larder:
    """Histories, catalogue, queries and users of a run; users and items go by code, 0 upwards, rows in code order."""

    histories: pl.DataFrame
    catalogue: pl.DataFrame
    queries: pl.DataFrame
    users: pl.DataFrame
    declined: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DECLINED_SCHEMA))
    """Rows by user, then time; reason is `skipped` or `low_rated`, time and rating may be null."""
    targets: int | None = None
    """Of the behaviours in histories the first so many are asked for; None where there is one kind only."""

    @property
    def n_items(self) -> int:
        """Items in the catalogue."""
        return self.catalogue.height

    @cached_property
    def texts(self) -> list[str]:
        """How each item reads, by code."""
        return [str(text) for text in self.catalogue[TEXT]]

    def shuffled(self, seed: int) -> Larder:
        """The same, the texts dealt anew among the items: who did what stays, only not what it is called."""
        order = rng_for(seed, "shuffled titles").permutation(self.n_items)
        texts = self.catalogue[TEXT].gather(order)
        return replace(self, catalogue=self.catalogue.with_columns(texts))

    @cached_property
    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """All items one user after another (int32), and where each user's begin (one more entry than users)."""
        lengths = self.histories[ITEMS].list.len().to_numpy().astype(np.int64)
        items = self.histories[ITEMS].explode(empty_as_null=False).to_numpy().astype(np.int32)
        items.setflags(write=False)
        return items, np.concatenate([[0], np.cumsum(lengths)])

    @cached_property
    def _clock(self) -> np.ndarray:
        """When each of all items came, in seconds (float64), nan where there are no times."""
        if self.histories[TIMES].null_count():
            return np.full(len(self.flat[0]), np.nan)
        return self.histories[TIMES].explode(empty_as_null=False).to_numpy().astype(np.float64) / self._a_second

    @cached_property
    def _a_second(self) -> int:
        return A_SECOND[time_unit(self.histories) or "s"]

    def contexts(self, queries: pl.DataFrame) -> list[np.ndarray]:
        """The items before each query's position, oldest first, in the order of the rows. Reads user, position."""
        items, starts = self.flat
        first = starts[queries[USER].to_numpy()]
        return [items[a:b] for a, b in zip(first, first + queries[POSITION].to_numpy(), strict=True)]

    def whole(self, user: int) -> tuple[np.ndarray, np.ndarray]:
        """All that a user (by code) did, oldest first: items, and when in seconds, nan where not known."""
        items, starts = self.flat
        mine = slice(starts[user], starts[user + 1])
        return items[mine], self._clock[mine]

    def moments(self, queries: pl.DataFrame) -> list[np.ndarray]:
        """When each query's context items came and, last, when the query is: float64 seconds, nan where not known.

        Reads user, position, time.
        """
        clock, starts = self._clock, self.flat[1]
        first = starts[queries[USER].to_numpy()]
        asked = queries[TIME].cast(pl.Float64).fill_null(float("nan")).to_numpy() / self._a_second
        lasts = first + queries[POSITION].to_numpy()
        return [np.append(clock[a:b], now) for a, b, now in zip(first, lasts, asked, strict=True)]

    def training_moments(self) -> list[np.ndarray] | None:
        """When each item of `training` came, in seconds; None where the data have no times."""
        if np.isnan(self._clock).any():
            return None
        return self._prefixes(self._clock, self.histories[TRAIN].to_numpy())

    def training(self) -> list[np.ndarray]:
        """Each user's training prefix, by user code; empty where a user came after the moment."""
        return self._prefixes(self.flat[0], self.histories[TRAIN].to_numpy())

    def fold(self, name: str) -> pl.DataFrame:
        """The queries of a fold: `valid` or `test`."""
        return self.queries.filter(pl.col(FOLD) == name)

    def write(self, folder: Path) -> None:
        """Writes the tables."""
        for name in (*TABLES, "declined"):
            write_parquet(getattr(self, name), folder / f"{name}.parquet")

    @classmethod
    def read(cls, folder: Path) -> Larder:
        """Reads the tables, or RunFault where they are not there."""
        paths = {name: folder / f"{name}.parquet" for name in TABLES}
        for path in paths.values():
            if not path.is_file():
                raise RunFault(f"{path}: there is no such table; run `llmrec prepare` first.")
        declined = folder / "declined.parquet"
        beside = {"declined": read_table(declined)} if declined.is_file() else {}
        tables = {name: read_table(path) for name, path in paths.items()}
        targets = None
        if BEHAVIOURS in tables["histories"].columns:
            targets = len(json.loads((folder / "summary.json").read_text(encoding="utf-8"))["behaviours"]["target"])
        return cls(**tables, **beside, targets=targets)

    def _prefixes(self, flat: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        starts = self.flat[1]
        return [flat[a : a + n] for a, n in zip(starts[:-1], lengths, strict=True)]


def training_queries(larder: Larder, per_user: int) -> pl.DataFrame:
    """Queries of fold `train`: each user's last `per_user` training positions that have at least one item before them.

    Only positions of a target behaviour, where there are several behaviours. A query's number depends on its user and
    position only, and no test or validation query has it.
    """
    train = larder.histories[TRAIN].to_numpy().astype(np.int64)
    items, starts = larder.flat
    if larder.targets is None:
        owner, position = splits.spread(np.maximum(train - per_user, 1), train)
    else:
        asked = larder.histories[BEHAVIOURS].explode(empty_as_null=False).to_numpy() < larder.targets
        owner, position = splits.spread(np.ones_like(train), train)
        owner, position = splits.only(owner, position, asked[starts[owner] + position])
        last = splits.places_from_the_end(owner) < per_user
        owner, position = owner[last], position[last]
    at = starts[owner] + position
    base = int(larder.queries[QUERY].to_numpy().max(initial=-1)) + 1
    timed = larder.histories[TIMES].null_count() == 0
    times = larder.histories[TIMES].explode() if timed else None
    return (
        pl.DataFrame(
            {
                QUERY: base + at,
                USER: owner,
                POSITION: position,
                TIME: times.gather(at) if times is not None else pl.Series([None] * len(at), dtype=pl.Int64),
                TARGET: items[at],
            }
        )
        .with_columns(pl.lit("train").alias(FOLD))
        .cast(pl.Schema(QUERIES_SCHEMA))
        .select(*QUERIES_SCHEMA)
    )


def before(larder: Larder, queries: pl.DataFrame) -> list[np.ndarray]:
    """Training prefixes, by user code, cut before each user's first position in `queries`.

    What mines for these queries may be fitted on this: it has seen none of their targets.
    """
    first = larder.histories[TRAIN].to_numpy().astype(np.int64).copy()
    np.minimum.at(first, queries[USER].to_numpy(), queries[POSITION].to_numpy())
    return larder._prefixes(larder.flat[0], first)
