"""What readers give: rows with their line, and rows that could not be read with the reason."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

LINE = "line"


def of_bytes(value: bytes | None) -> str | None:
    """Text as it is, and what is no text (an id of 16 raw bytes) in hexadecimal, so that no two become one.

    >>> of_bytes("Amélie".encode()), of_bytes(bytes([255, 16]))
    ('Amélie', 'ff10')
    """
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


@dataclass(frozen=True)
class Rows:
    """What a file holds: `table` has `line` (from 1, headers count) and our columns; `bad` is what could not be read.

    bad: line, reason, raw. Columns of text files are strings; Parquet and Arrow keep their own types. Where several
    files are read as one, `line` runs on as if they were one: these rows are from `file`, and `before` lines stand in
    the files before it.
    """

    table: pl.DataFrame
    bad: pl.DataFrame
    file: str = ""
    before: int = 0


@dataclass(frozen=True)
class Piece:
    """Some rows of one file, in its order, their lines counted within the file; `lines` were gone through for them."""

    table: pl.DataFrame
    bad: pl.DataFrame
    lines: int
