"""Interactions: who met what, when. Rows that cannot be used are left out, each with its reason.

They come in pieces, and what becomes of a row does not depend on the piece that it is in: it turns into numbers (user,
item, time, line, and rating and behaviour, where there are any), and what only the whole file can tell (which times are
strays, which identifiers are the same) is settled in the end.

arrived   user: u32, item: u32 (numbers of `Keys`), time: i64, kind: u8, line: i64, rating: f32, behaviour: u8
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.columns import ITEM, TIME, USER
from llmrec.data import buckets
from llmrec.data.buckets import Buckets
from llmrec.data.catalogue import first_texts
from llmrec.data.dropped import Dropped
from llmrec.data.impressions import SHOWN, lists
from llmrec.data.keys import NO_VALUE, Keys, as_text, key, plain
from llmrec.data.moments import DATE, FRACTION, KIND, NUMBER, UNREAD, Moments, times
from llmrec.data.readers import LINE, Rows
from llmrec.errors import DataFault
from llmrec.recipe.sections import Data

__all__ = ["BEHAVIOUR", "NO_VALUE", "RATING", "Arrivals", "key", "times"]

RATING = "rating"
BEHAVIOUR = "behaviour"
GIVEN = (USER, ITEM, RATING, TIME, BEHAVIOUR)  # what a row may have beside its line; all but SHOWN else is item text
WHY = "why"
LOW, ROW, LISTED = range(3)  # a declined item was rated low, shown in a row of its own, or in another row's list
SLICE = 20_000  # rows whose lists are unfolded at once


class Arrivals:
    """The usable rows of a file, as they arrive; what is left out goes to `dropped`."""

    def __init__(self, data: Data, *, file: str, dropped: Dropped, folder: Path, memory: float) -> None:
        self.data, self.file, self.dropped = data, file, dropped
        self.users, self.items, self.moments = Keys(), Keys(), Moments()
        self.rows = Buckets(folder / "rows", memory)
        self.declined = Buckets(folder / "declined", memory / 4)
        """Items rated low and items shown, with `why` (u8)."""
        self.listed: Counter[str] = Counter()
        """Items shown in other rows' lists that are not declined, by reason."""
        self.read = 0
        self._files: list[tuple[int, str]] = []
        self.timed = self.rated = False
        self._texts: list[pl.DataFrame] = []

    def take(self, rows: Rows) -> None:
        """Takes a piece of the file: line, user, item, and what there is of time, rating, behaviour, shown, texts.

        Raises DataFault where `min_rating` or `behaviours` is given and the column is not there, where
        one holds lists, or where what was shown does not read.
        """
        given, data = rows.table, self.data
        lying = (rows.before, rows.file or self.file)
        if not self._files or self._files[-1] != lying:
            self._files.append(lying)
        self.leave(rows.bad)
        self.read += given.height + rows.bad.height
        plain(given, [name for name in GIVEN if name in given.columns], where=self.file)
        if data.min_rating is not None and RATING not in given.columns:
            raise DataFault(
                f"{self.file}: data.min_rating is {data.min_rating}, but there is no rating column. Map it, or leave "
                "it out."
            )
        if data.behaviours is not None and BEHAVIOUR not in given.columns:
            raise DataFault(
                f"{self.file}: data.behaviours is given, but there is no behaviour column. Map it with data.columns: "
                "{behaviour: ...}."
            )
        table = given.select(
            LINE,
            self.users.numbered(given[USER]).alias(USER),
            self.items.numbered(given[ITEM]).alias(ITEM),
            pl.int_range(pl.len(), dtype=pl.Int64).alias("at"),
        )
        faults = [(pl.col(USER).is_null(), "no user"), (pl.col(ITEM).is_null(), "no item")]
        if TIME in given.columns:
            self.timed = True
            table = table.with_columns(self.moments.seen(given[TIME]))
            faults.append((~pl.col(KIND).is_in([NUMBER, FRACTION, DATE]), UNREAD))
        else:
            table = table.with_columns(pl.lit(None, pl.Int64).alias(TIME))
        if RATING in given.columns:
            table = table.with_columns(given[RATING].cast(pl.Float64, strict=False).fill_nan(None).alias(RATING))
            if data.min_rating is not None:
                faults.append((pl.col(RATING).is_null(), "rating is no number"))
        if data.behaviours is not None:
            words = [*data.behaviours.names, *data.behaviours.exposed]
            told = as_text(given[BEHAVIOUR]).str.strip_chars()
            if given.schema[BEHAVIOUR].is_float():  # numbers that met a missing value in pandas
                told = told.str.strip_suffix(".0")
            place = told.replace_strict(words, list(range(len(words))), default=None, return_dtype=pl.UInt8)
            table = table.with_columns(place.alias(BEHAVIOUR))
            faults.append((pl.col(BEHAVIOUR).is_null(), "a behaviour that data.behaviours does not name"))
        for fault, reason in faults:
            table = self._without(table, given, fault, reason)
        self._unfold(table, given)
        table = self._aside(table, given)
        self._note_texts(table, given)
        self.rows.add(self._numbers(table), self._buckets(table))

    def leave(self, rows: pl.DataFrame, reason: str | None = None) -> None:
        """Enters rows that are left out, each under the file that it stood in. Reads line, and what `Dropped` reads."""
        if len(self._files) == 1:
            self.dropped.add(self._files[0][1], rows, reason)
            return
        starts = np.array([before for before, _ in self._files])
        which = np.searchsorted(starts, rows[LINE].to_numpy(), side="left") - 1
        for at in np.unique(which).tolist():
            before, file = self._files[at]
            self.dropped.add(file, rows.filter(pl.Series(which == at)).with_columns(pl.col(LINE) - before), reason)

    def texts(self) -> pl.DataFrame:
        """item (a number) and the text fields: for each piece, each item's first value that is not empty, in order."""
        return pl.concat(self._texts, how="diagonal_relaxed") if self._texts else pl.DataFrame(schema={ITEM: pl.UInt32})

    def _without(self, table: pl.DataFrame, given: pl.DataFrame, fault: pl.Expr, reason: str) -> pl.DataFrame:
        """The table without rows of a fault, which are entered with what stood in the file."""
        gone = table.filter(fault)
        if not gone.height:
            return table
        stood = given[gone["at"]]
        shown = [name for name in GIVEN if name in given.columns]
        text = [pl.col(name).cast(pl.String, strict=False).fill_null("") for name in shown]
        raw = stood.select(
            LINE,
            *(key(stood[name]).alias(name) for name in (USER, ITEM)),
            pl.concat_str(text, separator=",").alias("raw"),
        )
        self.leave(raw, reason)
        return table.filter(~fault)

    def _aside(self, table: pl.DataFrame, given: pl.DataFrame) -> pl.DataFrame:
        """The table without rows that are no interactions but say what a user declined."""
        least = self.data.min_rating
        if least is not None:
            low = pl.col(RATING) < least
            self._decline(table.filter(low), LOW)
            table = self._without(table, given, low, f"rated below {least:g}")
        if self.data.behaviours is not None:
            shown = pl.col(BEHAVIOUR) >= len(self.data.behaviours.names)
            self._decline(table.filter(shown), ROW)
            table = table.filter(~shown)
        return table

    def _unfold(self, table: pl.DataFrame, given: pl.DataFrame) -> None:
        """Takes what rows list beside their own item as declined; whether it was is known in the end."""
        if SHOWN not in given.columns:
            return
        for part in table.iter_slices(SLICE):
            told = lists(given[SHOWN].gather(part["at"]), self.data.shown_separator, where=self.file)
            each = part.with_columns(told.alias(SHOWN)).explode(SHOWN)
            each = each.with_columns(self.items.numbered(each[SHOWN]).alias(SHOWN))
            each = each.filter(pl.col(SHOWN) != pl.col(ITEM)).unique([LINE, SHOWN], maintain_order=True)
            unrated = [pl.lit(None, pl.Float64).alias(RATING)] if RATING in each.columns else []
            self._decline(each.with_columns(pl.col(SHOWN).alias(ITEM), *unrated), LISTED)

    def _decline(self, table: pl.DataFrame, why: int) -> None:
        rows = self._numbers(table).with_columns(pl.lit(why, pl.UInt8).alias(WHY))
        self.declined.add(rows, self._buckets(table))

    def _numbers(self, table: pl.DataFrame) -> pl.DataFrame:
        rated = [pl.col(RATING).cast(pl.Float32)] if RATING in table.columns else []
        self.rated |= bool(rated) and table[RATING].null_count() < table.height
        kinds = [name for name in (KIND, BEHAVIOUR) if name in table.columns]
        return table.select(USER, ITEM, TIME, LINE, *kinds, *rated)

    def _buckets(self, table: pl.DataFrame) -> np.ndarray:
        return self.users.buckets(table[USER].to_numpy(), buckets.COUNT)

    def _note_texts(self, table: pl.DataFrame, given: pl.DataFrame) -> None:
        names = [name for name in given.columns if name not in (LINE, SHOWN, *GIVEN)]
        plain(given, names, where=self.file, lists=True)
        if names and table.height:
            told = given.select(pl.col(name).gather(table["at"]) for name in names)
            told = told.insert_column(0, table[ITEM]).unique(maintain_order=True)
            self._texts.append(first_texts(told, ITEM))
            if sum(part.height for part in self._texts) > 4 * self._texts[0].height + 1_000_000:
                self._texts = [first_texts(self.texts(), ITEM)]
