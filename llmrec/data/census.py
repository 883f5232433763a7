"""Counts over a log of any length: people, items, histories, popularity, ties, repeats, times, ratings.

Memory does not grow with the log: users and items go as hashes, a long log is dealt by user into files beside the
system's temporary ones, and each of these is counted by itself. Only what there is one of for each item is held.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmrec.columns import ITEM, TIME, USER
from llmrec.data.interactions import RATING, key
from llmrec.errors import DataFault

HELD = 2_000_000  # rows in memory before a log counts as long
DEALT = 16  # files that a long log is dealt into
UNITS = (("s", 1, 1e11), ("ms", 1_000, 1e14), ("us", 1_000_000, 1e17))  # by the size of a moment since 1970
VALUES = 1_000  # different ratings or behaviours that are counted one by one
SHARES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)
TITLED = "titled"


@dataclass(frozen=True)
class Census:
    """What a log's interactions come to. Rows without user or item are not in it."""

    interactions: int
    users: int
    items: int
    density: float
    """Share of all (user, item) cells that hold an interaction."""
    history: dict[str, float]
    """Interactions a user: shortest, median, mean, p90, longest."""
    lengths: list[tuple[int, int]]
    """(length up to, users): 1, 2, 4, 8, ..."""
    popularity: list[tuple[float, float]]
    """(share of items, the most popular first; share of interactions that is theirs)."""
    curve: list[tuple[float, float]]
    """The same at every hundredth of the ranks, on a scale of logarithms."""
    repeats: float
    """Share of interactions with an item that the user has already met."""
    ties: dict[str, float] | None
    """Share of a user's neighbouring interactions at the same time, and of users whose last two are; null without
    times."""
    moments: dict[str, Any] | None
    """unit, first, last, unreadable, negative, and units: rows that look like seconds, milliseconds, microseconds."""
    ratings: dict[str, int] | None
    """Rows a rating."""
    behaviours: dict[str, int] | None
    """Rows a value of the column that looks like one of behaviours."""
    untitled: int | None
    """Items that no row has a title for; null without titles."""


@dataclass
class Count:
    """Takes a log piece by piece and counts it at the end; `folder` holds what does not fit."""

    folder: Path
    held: list[pl.DataFrame] = field(default_factory=list)
    dealt: int = 0
    rows: int = 0
    ratings: Counter[float] = field(default_factory=Counter)
    behaviours: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    span: list[tuple[str, int, int]] = field(default_factory=list)
    unreadable: int = 0
    titles: bool = False

    def add(self, table: pl.DataFrame, behaviour: str | None) -> None:
        """Rows with user, item and any of time (whole numbers), rating, title, and a column of behaviours."""
        nothing = pl.Series([None] * len(table), dtype=pl.Int64)
        frame = pl.DataFrame({name: key(table[name]).hash(seed=7) for name in (USER, ITEM)})
        frame = frame.with_columns(
            *(pl.when(key(table[name]).is_not_null()).then(pl.col(name)).alias(name) for name in (USER, ITEM)),
            (table[TIME] if TIME in table.columns else nothing).cast(pl.Int64).alias(TIME),
            _titled(table).alias(TITLED),
            pl.int_range(self.rows, self.rows + len(table), dtype=pl.Int64, eager=True).alias("line"),
        )
        self.rows, self.titles = self.rows + len(table), "title" in table.columns
        frame = frame.filter(pl.col(USER).is_not_null() & pl.col(ITEM).is_not_null())
        if TIME in table.columns:
            self._clock(frame[TIME])
        if RATING in table.columns:
            _count(self.ratings, table[RATING].cast(pl.Float64, strict=False))
        if behaviour is not None:
            _count(self.behaviours, key(table[behaviour]))
        self.held.append(frame)
        if sum(map(len, self.held)) > HELD:
            self._deal()

    def _clock(self, column: pl.Series) -> None:
        self.unreadable += column.null_count()
        size, below = column.abs(), 0.0
        for name, _, limit in UNITS:
            mine = column.filter((size < limit) & (size >= below)).drop_nulls()
            below = limit
            if len(mine):
                self.units[name] += len(mine)
                self.units["negative"] += int((mine < 0).sum())
                self.span.append((name, int(mine.min()), int(mine.max())))  # type: ignore[arg-type]

    def _deal(self) -> None:
        table = pl.concat(self.held)
        try:
            for part in range(DEALT):
                table.filter(pl.col(USER) % DEALT == part).write_parquet(self.folder / f"{part}-{self.dealt}.parquet")
        except (OSError, pl.exceptions.PolarsError) as fault:
            raise DataFault(f"{self.folder}: cannot be written ({fault}). Free some space, or set TMPDIR.") from None
        self.held, self.dealt = [], self.dealt + 1

    def _parts(self) -> Iterator[pl.DataFrame]:
        """The log, all rows of a user in one part, in the order in which they came."""
        if not self.dealt:
            yield pl.concat(self.held)
            return
        if self.held:
            self._deal()
        for part in range(DEALT):
            files = [self.folder / f"{part}-{at}.parquet" for at in range(self.dealt)]
            yield pl.concat([pl.read_parquet(file) for file in files])

    def done(self) -> Census | None:
        """The counts; None where not one row has a user and an item."""
        lengths: list[np.ndarray] = []
        items: pl.DataFrame | None = None
        repeated = neighbours = tied = several = last_two = 0
        timed = bool(self.units)
        for part in self._parts():
            of_users = part.group_by(USER).len()["len"].to_numpy()
            lengths.append(of_users)
            repeated += part.height - part.select(pl.struct(USER, ITEM).n_unique()).item()
            found = part.group_by(ITEM).agg(pl.len().alias("count"), pl.col(TITLED).any())
            items = found if items is None else _merged(items, found)
            if timed:
                ordered = part.sort(USER, TIME, "line").select(
                    same=pl.col(USER) == pl.col(USER).shift(1),
                    tie=(pl.col(TIME) == pl.col(TIME).shift(1)).fill_null(False),
                    last=(pl.col(USER) != pl.col(USER).shift(-1)).fill_null(True),
                )
                pairs = ordered.filter("same")
                neighbours, tied = neighbours + pairs.height, tied + int(pairs["tie"].sum())
                ends = pairs.filter("last")
                several, last_two = several + ends.height, last_two + int(ends["tie"].sum())
        every = np.sort(np.concatenate(lengths)) if lengths else np.empty(0)
        if items is None or not len(every):
            return None
        total, counts = int(every.sum()), np.sort(items["count"].to_numpy())[::-1]
        untitled = int((~items[TITLED]).sum()) if self.titles else None
        return Census(
            interactions=total,
            users=len(every),
            items=len(counts),
            density=total / (len(every) * len(counts)),
            history={
                "shortest": int(every[0]),
                "median": float(np.median(every)),
                "mean": float(every.mean()),
                "p90": float(np.quantile(every, 0.9)),
                "longest": int(every[-1]),
            },
            lengths=_doubling(every),
            popularity=[(share, _of_top(counts, share)) for share in SHARES if share * len(counts) >= 1],
            curve=[(share, _of_top(counts, share)) for share in np.logspace(-np.log10(len(counts)), 0, 100).tolist()],
            repeats=repeated / total,
            ties={"neighbours": tied / max(1, neighbours), "last_two": last_two / max(1, several)} if timed else None,
            moments=self._moments(),
            ratings=_named(self.ratings),
            behaviours=dict(self.behaviours.most_common()) or None,
            untitled=untitled,
        )

    def _moments(self) -> dict[str, Any] | None:
        if not self.span:
            return None
        units = {name: self.units[name] for name, _, _ in UNITS if self.units[name]}
        unit = max(units, key=lambda name: units[name])
        a_second = next(size for name, size, _ in UNITS if name == unit)
        mine = [(low, high) for name, low, high in self.span if name == unit]
        return {
            "unit": unit,
            "first": _date(min(low for low, _ in mine) / a_second),
            "last": _date(max(high for _, high in mine) / a_second),
            "unreadable": self.unreadable,
            "negative": self.units["negative"],
            "units": units,
        }


def counting() -> tempfile.TemporaryDirectory[str]:
    """A folder for a `Count`, gone with the `with` that it is opened in."""
    return tempfile.TemporaryDirectory(prefix="llmrec-profile-")


def _titled(table: pl.DataFrame) -> pl.Series:
    if "title" not in table.columns:
        return pl.Series([None] * len(table), dtype=pl.Boolean)
    return key(table["title"].cast(pl.String, strict=False)).is_not_null()


def _count(counter: Counter[Any], column: pl.Series) -> None:
    """Adds up values, as long as they are few enough to be told apart."""
    if len(counter) <= VALUES:
        counter.update(dict(column.drop_nulls().value_counts().head(VALUES + 1).iter_rows()))


def _merged(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([one, other]).group_by(ITEM).agg(pl.col("count").sum(), pl.col(TITLED).any())


def _doubling(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Users with up to 1, 2, 4, 8, ... interactions, and more than the half of that."""
    bins = np.ceil(np.log2(lengths)).astype(int)
    return [(int(2**at), int((bins == at).sum())) for at in range(int(bins.max()) + 1)]


def _of_top(counts: np.ndarray, share: float) -> float:
    top = max(1, round(share * len(counts)))
    return float(counts[:top].sum() / counts.sum())


def _named(ratings: Counter[float]) -> dict[str, int] | None:
    """Rows a rating, in ten bins where there are more than twenty different ones."""
    real = {value: count for value, count in ratings.items() if np.isfinite(value)}
    if len(real) <= 20:
        return {f"{value:g}": real[value] for value in sorted(real)} or None
    edges = np.histogram_bin_edges(list(real), 10)
    rows, _ = np.histogram(list(real), edges, weights=list(real.values()))
    return {f"{low:.3g} to {high:.3g}": int(n) for low, high, n in zip(edges, edges[1:], rows, strict=False)}


def _date(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s"
