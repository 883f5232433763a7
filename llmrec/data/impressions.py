"""Impressions beside an interaction: what else was shown when the user chose, in a list or in text."""

from __future__ import annotations

import polars as pl

from llmrec.errors import DataFault

SHOWN = "shown"


def lists(column: pl.Series, separator: str, *, where: str) -> pl.Series:
    """What each row was shown, as a list of identifiers.

    Text that begins with `[` and ends with `]` is a list of JSON's, other text is cut at `separator`. Raises DataFault
    where such a list is none, or holds something else than identifiers.
    """
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if isinstance(column.dtype, pl.List):
        if column.dtype.inner.is_nested():
            raise DataFault(
                f"{where}: the column for shown has lists of {column.dtype.inner}; lists of item identifiers are "
                "expected."
            )
        return column
    text = column.cast(pl.String, strict=False).str.strip_chars()
    listed = (text.str.starts_with("[") & text.str.ends_with("]")).fill_null(False)
    try:
        decoded = text.set(~listed, None).str.json_decode(pl.List(pl.String))
    except pl.exceptions.PolarsError:
        raise DataFault(
            f"{where}: the column for shown has a text in square brackets that is no JSON list of identifiers, such as "
            f'{text.filter(listed)[0][:60]!r}. Write ["a", "b"], or a b with data.shown_separator between them.'
        ) from None
    return pl.select(pl.when(listed).then(decoded).otherwise(text.str.split(separator))).to_series()
