"""Identifiers that come in pieces, as small numbers; in the end each has its place among all, sorted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrec.errors import DataFault

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

NO_VALUE = ["", "nan", "null", "none", "<na>", "nat"]  # what spreadsheets and pandas write for nothing
WHOLE = r"^-?\d+(\.0)?$"


class Keys:
    """A dictionary that grows: identifiers as they come to numbers, so that a row takes four bytes whatever its key.

    What an identifier is called may depend on all of them (whole numbers that became floats are whole again), and so
    names and places are known in the end only: `settled`.
    """

    def __init__(self) -> None:
        self._kind = pl.Categorical(pl.Categories.random())
        self._anchor = pl.Series([], dtype=self._kind)  # the categories live as long as a series of them
        self._names = pl.Series([], dtype=pl.String)
        self._nothing = np.zeros(0, dtype=bool)
        self._hashes = np.zeros(0, dtype=np.uint64)

    def numbered(self, ids: pl.Series) -> pl.Series:
        """The number of each identifier (u32), null where there is none: empty, or a word for nothing."""
        numbers = as_text(ids).cast(self._kind).to_physical()
        known = self._kind.categories.to_series()
        if len(known) > len(self._names):
            fresh = cleaned(known[len(self._names) :].cast(pl.String))
            self._names = pl.concat([self._names, fresh])
            self._nothing = np.append(self._nothing, fresh.is_null().to_numpy())
        if self._nothing.any():
            none = self._nothing[numbers.fill_null(0).to_numpy()]
            numbers = numbers.set(pl.Series(none), None)
        return numbers

    def buckets(self, numbers: np.ndarray, count: int) -> np.ndarray:
        """A bucket below `count` for each number (u8), the same for all that may turn out to be one identifier."""
        fresh = self._names[len(self._hashes) :]
        if len(fresh):
            hashes = fresh.fill_null("").str.strip_suffix(".0").hash().to_numpy()
            self._hashes = np.concatenate([self._hashes, hashes])
        found: np.ndarray = (self._hashes[numbers] % count).astype(np.uint8)
        return found

    def settled(self) -> tuple[pl.Series, np.ndarray]:
        """(All identifiers in sorted order, the place there of each number (u32))."""
        names = without_points(self._names)
        keys = names.drop_nulls().unique().sort()
        places = names.cast(pl.Enum(keys)).to_physical().cast(pl.UInt32).fill_null(0)
        return keys, places.to_numpy()


def key(ids: pl.Series) -> pl.Series:
    """Identifiers as strings, null where there is none. Whole numbers that became floats (`12.0`) are whole again."""
    return without_points(cleaned(as_text(ids)))


def is_plain(kind: PolarsDataType) -> bool:
    """Whether values of a type can be names, numbers or moments; lists, objects, bytes and durations cannot."""
    return not (kind.is_nested() or kind in (pl.Binary, pl.Object, pl.Duration))


def plain(table: pl.DataFrame, names: Sequence[str], *, where: str, lists: bool = False) -> None:
    """Raises DataFault where a column is not plain.

    `lists`: a list in a row will do, as with genres; a list of lists does not.
    """
    for name in names:
        kind = table.schema[name]
        inner = kind.inner if lists and isinstance(kind, pl.List) else kind
        if not is_plain(inner):
            raise DataFault(
                f"{where}: the column for {name} holds {kind}; plain text or numbers are expected, one a row. Map "
                f"another column with columns: {{{name}: ...}}, or write it anew as text."
            )


def as_text(ids: pl.Series) -> pl.Series:
    """Identifiers as written; whole floats with a point and a naught, so that parts with another type read alike."""
    if not ids.dtype.is_float():
        return ids.cast(pl.String, strict=False)
    finite = ids.set((~ids.is_finite()).fill_null(True), None)
    whole = finite.drop_nulls()
    if bool((whole == whole.floor()).all()) and bool((whole.abs() < 9e18).all()):
        return finite.cast(pl.Int64).cast(pl.String) + ".0"
    return finite.cast(pl.String)


def cleaned(text: pl.Series) -> pl.Series:
    """Without white space around, and null where it says nothing."""
    text = text.str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(NO_VALUE), None)


def without_points(text: pl.Series) -> pl.Series:
    """`12.0` as `12`, where every identifier is a whole number."""
    given = text.drop_nulls()
    return text.str.strip_suffix(".0") if len(given) and bool(given.str.contains(WHOLE).all()) else text
