"""Interactions: who met what, when. Rows that cannot be used are left out, each with its reason.

interactions   line: i64, user: str, item: str, time: i64 or null, then text fields of the items, if the file has any
"""

from __future__ import annotations

import polars as pl

from llmrec.columns import ITEM, TIME, USER
from llmrec.data.dropped import Dropped
from llmrec.data.readers import LINE, Rows
from llmrec.errors import DataFault

RATING = "rating"
NO_VALUE = ["", "nan", "null", "none", "<na>", "nat"]  # what spreadsheets and pandas write for nothing
DATES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d")
REASONS = {USER: "no user", ITEM: "no item", TIME: "time cannot be read"}


def interactions(rows: Rows, *, file: str, min_rating: float | None, dropped: Dropped) -> pl.DataFrame:
    """The usable interactions in file order; what is left out goes to `dropped`.

    Reads line, user, item and, where there are any, time, rating and text fields. Raises DataFault where nothing is
    left, where no time can be read, or where `min_rating` is given and there are no ratings.
    """
    dropped.add(file, rows.bad)
    table = rows.table
    if min_rating is not None and RATING not in table.columns:
        raise DataFault(
            f"{file}: data.min_rating is {min_rating}, but there is no rating column. Map it, or leave it out."
        )
    table = table.with_columns(
        *(key(table[name]).alias(name) for name in (USER, ITEM)),
        *([times(table[TIME], where=file).alias(TIME)] if TIME in table.columns else []),
        *([pl.col(RATING).cast(pl.Float64, strict=False)] if min_rating is not None else []),
    )
    faults = [(pl.col(name).is_null(), reason) for name, reason in REASONS.items() if name in table.columns]
    if min_rating is not None:
        faults.append((pl.col(RATING).is_null() | pl.col(RATING).is_nan(), "rating is no number"))
        faults.append((pl.col(RATING) < min_rating, f"rated below {min_rating:g}"))
    for fault, reason in faults:
        gone = table.filter(fault)
        if gone.height:
            raw = rows.table.join(gone.select(LINE), on=LINE, how="semi", maintain_order="left").select(_raw(table))
            dropped.add(file, gone.with_columns(raw["raw"]), reason)
            table = table.filter(~fault)
    if not table.height:
        raise DataFault(
            f"{file}: no interaction is left of {rows.table.height + rows.bad.height:,}: {dropped.words()}."
        )
    if TIME not in table.columns:
        table = table.with_columns(pl.lit(None, pl.Int64).alias(TIME))
    texts = [c for c in table.columns if c not in (LINE, USER, ITEM, TIME, RATING)]
    return table.select(LINE, USER, ITEM, TIME, *texts)


def key(ids: pl.Series) -> pl.Series:
    """Identifiers as strings, null where there is none. Whole numbers that became floats (`12.0`) are whole again."""
    if ids.dtype.is_float():
        finite = ids.set(~ids.is_finite(), None)
        whole = finite.drop_nulls()
        ids = finite.cast(pl.Int64) if bool((whole == whole.floor()).all()) else finite
    text = ids.cast(pl.String, strict=False).str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(NO_VALUE), None)
    given = text.drop_nulls()
    if len(given) and bool(given.str.contains(r"^-?\d+\.0$").all()):
        text = text.str.strip_suffix(".0")
    return text


def times(column: pl.Series, *, where: str) -> pl.Series:
    """Moments as whole numbers that order them, null where a value cannot be read.

    Numbers stay what they are (seconds, milliseconds, ...), seconds with fractions become microseconds; dates become
    seconds since 1970, or microseconds where any has a fraction. Times without a zone are taken as UTC.

    Raises DataFault where not one value can be read.
    """
    if column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration):
        return _coarsest(column.cast(pl.Datetime("us")).dt.epoch("us"))
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    text = column.cast(pl.String, strict=False).str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    given = int((text != "").sum())
    are_numbers = 2 * (len(numbers) - numbers.null_count()) > given  # one stray number does not make dates numbers
    numbers = numbers.set((~numbers.is_finite() | (numbers.abs() > 9e18)).fill_null(True), None)
    if are_numbers and numbers.null_count() < len(numbers):
        if bool((numbers.drop_nulls() % 1 != 0).any()):
            return (numbers * 1e6).round().cast(pl.Int64)
        return text.cast(pl.Int64, strict=False).fill_null(numbers.cast(pl.Int64))
    stamps = _dates(text)
    if stamps.null_count() == len(stamps):
        example = f"the first is {text.drop_nulls()[0]!r}" if given else "all are empty"
        raise DataFault(
            f"{where}: none of {len(stamps):,} times can be read; {example}. Give seconds since 1970 or ISO dates "
            "(2026-05-31 or 2026-05-31 18:30:00), or map another column with data.columns: {time: ...}."
        )
    return _coarsest(stamps)


def _dates(text: pl.Series) -> pl.Series:
    """Microseconds since 1970, null where no format fits."""
    plain = text.str.replace("T", " ", literal=True).str.replace(r"\s*(Z|UTC)$", "+00:00")
    stamps = plain.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", strict=False, time_zone="UTC", time_unit="us")
    found = stamps.dt.epoch("us")
    for form in DATES:
        found = found.fill_null(plain.str.to_datetime(form, strict=False, time_unit="us").dt.epoch("us"))
    return found


def _coarsest(microseconds: pl.Series) -> pl.Series:
    fractions = bool((microseconds.drop_nulls() % 1_000_000 != 0).any())
    return microseconds if fractions else microseconds // 1_000_000


def _raw(table: pl.DataFrame) -> pl.Expr:
    """The row as it stood, as far as it was read."""
    given = [name for name in (USER, ITEM, RATING, TIME) if name in table.columns]
    return pl.concat_str([pl.col(c).cast(pl.String, strict=False).fill_null("") for c in given], separator=",").alias(
        "raw"
    )
