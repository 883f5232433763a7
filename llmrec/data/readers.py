"""Tables as people keep them, to columns of ours, piece by piece: one small module a family of formats.

Each format has a fast and strict reader. Where it balks, `salvage` goes through that block row by row, keeps what can
be read and says of the rest which line, why, and what stood there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

import polars as pl

from llmrec.columns import ITEM, TIME, USER
from llmrec.data import columnar, databases, delimited, jsonlines, salvage
from llmrec.data.keys import is_plain
from llmrec.data.manifest import Table
from llmrec.data.parts import Part, agreed, format_of, parts
from llmrec.data.rows import LINE, Piece, Rows
from llmrec.errors import DataFault
from llmrec.recipe.sections import Format

__all__ = ["LINE", "ROWS", "Rows", "batches", "dated", "format_of", "header", "missing", "read"]

ROWS = 2_000_000
FRACTIONS = re.compile(r"%\.?[369]?f")
UNDATED = "time cannot be read"  # as rows without any time are called
FAMILIES: dict[Format, ModuleType] = {
    "csv": delimited, "tsv": delimited, "dat": delimited, "inter": delimited, "jsonl": jsonlines, "python": jsonlines,
    "parquet": columnar, "arrow": columnar, "sqlite": databases, "duckdb": databases,
}  # fmt: skip


def header(path: Path, table: Table) -> list[str]:
    """The names of the columns; numbers from 1 where a `dat` file has no names. Folders' keys come last."""
    first = parts(path, table, table.files)[0]
    return _header(first, table)


def read(path: Path, table: Table, columns: Mapping[str, str]) -> Rows:
    """All that `batches` gives, in one."""
    every = list(batches(path, table, columns))
    tables, bad = [rows.table for rows in every], [rows.bad for rows in every]
    return Rows(pl.concat(tables, how="vertical"), pl.concat(bad), path.name)


def batches(path: Path, table: Table, columns: Mapping[str, str], *, rows: int = ROWS) -> Iterator[Rows]:
    """The named columns (ours -> the file's) of every row, in pieces of about `rows` rows, in the file's order.

    path: a file, a folder, a pattern such as `logs/*.csv`; or, with `table.files`, the folder where these start. A
    piece is of one file. What is read, and with which line, does not depend on `rows`; the memory that it takes does,
    and not on the size of the file.

    Raises DataFault where a file is missing, empty, breaks off, is of another format than it says, or lacks a column,
    and, after the last piece, where there was not one row.
    """
    found = parts(path, table, table.files)
    for part in found:
        _check(part, table, columns)
        _check_ids(part, table, columns)
    types = _types(found, table, columns)
    root = os.path.commonpath([part.path.parent.absolute() for part in found])  # a name may be in several folders
    before = height = 0
    worst = salvage.nothing_bad()
    for part in found:
        lines = 0
        for piece in _gathered(_pieces(part, table, columns), rows):
            told = piece.table.with_columns(pl.col(name).cast(kind) for name, kind in types.items())
            told = told.with_columns(pl.col(LINE) + before)
            told, undated = _dated(told, table)
            bad = pl.concat([piece.bad.with_columns(pl.col(LINE) + before), undated])
            height, lines = height + told.height, lines + piece.lines
            worst = worst if worst.height else bad.head(1)
            yield Rows(told, bad, os.path.relpath(part.path, root), before)
        before += lines
    if not height:
        first = f" First: line {worst[LINE][0]}: {worst['reason'][0]}." if worst.height else ""
        kind = format_of(found[0].path, table)
        raise DataFault(f"{path}: not one row can be read as {kind}.{first}")


def missing(path: Path, ours: str, theirs: str, found: list[str]) -> str:
    """What to say about a column that is not there."""
    hint = ""
    if len(found) == 1 and any(s in found[0] for s in ",;|\t:"):
        hint = " The first line reads as a single column: is the separator another one?"
    near = get_close_matches(theirs, found, n=1)
    if near:
        hint += f" Did you mean {near[0]!r}?"
    names = ", ".join(name if name.isprintable() else repr(name) for name in found[:30])
    return (
        f"{path}: no column {theirs!r} (for {ours}); found {names}.{hint} "
        f"Say which one it is with columns: {{{ours}: ...}}."
    )


def _header(part: Part, table: Table) -> list[str]:
    kind = format_of(part.path, table)
    if table.query is not None and FAMILIES[kind] is not databases:
        raise DataFault(f"{part.path}: is read as {kind}, and a query goes with SQLite or DuckDB. Leave query out.")
    names: list[str] = FAMILIES[kind].header(part.path, kind, table)
    return [*names, *(key for key in part.keys if key not in names)]


def _check(part: Part, table: Table, columns: Mapping[str, str]) -> None:
    found = _header(part, table)
    for ours, theirs in columns.items():
        if theirs not in found:
            raise DataFault(missing(part.path, ours, theirs, found))
        if found.count(theirs) > 1:
            raise DataFault(f"{part.path}: has {found.count(theirs)} columns {theirs!r}: give each a name of its own.")


def _check_ids(part: Part, table: Table, columns: Mapping[str, str]) -> None:
    kind = format_of(part.path, table)
    ids = {ours: columns[ours] for ours in (USER, ITEM) if columns.get(ours, "") not in {"", *part.keys}}
    if FAMILIES[kind] is columnar:
        for ours, found in columnar.types(part.path, kind, ids).items():
            if found.is_nested():
                raise DataFault(
                    f"{part.path}: column {ids[ours]!r} (for {ours}) is {found}; an id is one value. Write one row "
                    "for each of them."
                )


def _types(found: list[Part], table: Table, columns: Mapping[str, str]) -> pl.Schema:
    """The types that the columns of all files get; none where they are text anyway, or of one file."""
    schemas: dict[Path, pl.Schema] = {}
    for part in found:
        kind = format_of(part.path, table)
        if len(found) > 1 and FAMILIES[kind] is columnar:
            own = {ours: theirs for ours, theirs in columns.items() if theirs not in part.keys}
            keys = {ours: pl.String() for ours, theirs in columns.items() if theirs in part.keys}
            schemas[part.path] = pl.Schema({**columnar.types(part.path, kind, own), **keys})
    return agreed(schemas) if schemas else pl.Schema()


def _pieces(part: Part, table: Table, columns: Mapping[str, str]) -> Iterator[Piece]:
    kind = format_of(part.path, table)
    own = {ours: theirs for ours, theirs in columns.items() if theirs not in part.keys}
    keys = {ours: pl.lit(part.keys[theirs], pl.String) for ours, theirs in columns.items() if theirs in part.keys}
    for piece in FAMILIES[kind].pieces(part.path, kind, table, own):
        yield replace(piece, table=piece.table.with_columns(**keys).select(LINE, *columns)) if keys else piece


def dated(column: pl.Series, form: str) -> pl.Series:
    """Dates in a form of strftime's as whole seconds since 1970, microseconds if it has fractions; else null."""
    text = column.cast(pl.String).str.strip_chars()
    stamps = text.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC" if "%z" in form else None)
    return stamps.dt.epoch("us" if FRACTIONS.search(form) else "s")


def _dated(rows: pl.DataFrame, table: Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with their times read as `time_format` says, and those whose times are not so."""
    if table.time_format is None or TIME not in rows.columns:
        return rows, salvage.nothing_bad()
    read = dated(rows[TIME], table.time_format)
    faulty = read.is_null() & (rows[TIME].cast(pl.String).fill_null("") != "")
    plain = [name for name, kind in rows.schema.items() if name != LINE and is_plain(kind)]
    texts = [pl.col(name).cast(pl.String, strict=False).fill_null("") for name in plain]
    bad = rows.select(LINE, pl.lit(UNDATED).alias("reason"), pl.concat_str(texts, separator=",").alias("raw"))
    return rows.with_columns(read.alias(TIME)).filter(~faulty), bad.filter(faulty)


def _gathered(pieces: Iterator[Piece], rows: int) -> Iterator[Piece]:
    """Small pieces put together and large ones cut, to `rows` rows each but for the last."""
    held: list[Piece] = []
    for piece in pieces:
        held.append(piece)
        while sum(one.table.height for one in held) >= rows:
            whole = _joined(held)
            yield replace(whole, table=whole.table.head(rows))
            held = [Piece(whole.table.slice(rows), salvage.nothing_bad(), 0)]
    if held and (sum(one.table.height + one.bad.height + one.lines for one in held)):
        yield _joined(held)


def _joined(held: list[Piece]) -> Piece:
    table, bad = pl.concat([one.table for one in held]), pl.concat([one.bad for one in held])
    return Piece(table, bad, sum(one.lines for one in held))
