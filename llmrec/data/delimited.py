"""Fields with something between them: CSV, TSV, `::`, RecBole's atomic files (a tab, and `name:type` in the header)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from llmrec.data import salvage, streams
from llmrec.data.rows import LINE, Piece
from llmrec.errors import DataFault
from llmrec.recipe.sections import Format, Reading

SEPARATORS: dict[Format, str] = {"csv": ",", "tsv": "\t", "inter": "\t", "dat": "::"}
QUOTED = re.compile(rb'"[^"]*"')
UNIT = "\x1f"  # stands in for separators of several bytes, which polars' reader does not take


def header(path: Path, kind: Format, table: Reading) -> list[str]:
    """The names of the columns; numbers from 1 where a `dat` file has no names."""
    return _names(streams.head(path, table), path, kind, table)


def pieces(path: Path, kind: Format, table: Reading, columns: Mapping[str, str]) -> Iterator[Piece]:
    """The named columns as strings, block by block; a block that the strict reader refuses is salvaged by itself."""
    content = streams.head(path, table)
    names, separator = _names(content, path, kind, table), _separator(content, kind, table)
    picked = {ours: names.index(theirs) for ours, theirs in columns.items()}
    headed = not table.names and kind != "dat"
    start, quoted = 1, kind == "csv"
    for block in streams.blocks(path, table, quoted=quoted):
        body, skipped = block, 0
        if headed and start == 1:
            body, skipped = block.split(b"\n", 1)[1] if b"\n" in block else b"", 1
        lines = body.count(b"\n") + (not body.endswith(b"\n") and bool(body))
        good, bad = _parsed(body, separator, names, picked, quoted=quoted, start=start + skipped, lines=lines)
        yield Piece(good, bad, skipped + lines)
        start += skipped + lines


def _parsed(
    body: bytes, separator: str, names: list[str], picked: Mapping[str, int], *, quoted: bool, start: int, lines: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    if len(separator.encode()) > 1 and UNIT.encode() not in body:
        body, separator = body.replace(separator.encode(), UNIT.encode()), UNIT
    every = [f"c{n}" for n in range(len(names))]
    try:
        if len(separator.encode()) > 1 or not body:
            raise pl.exceptions.ComputeError("several characters between columns")
        frame = pl.read_csv(
            body,
            has_header=False,
            separator=separator,
            quote_char='"' if quoted else None,
            schema=dict.fromkeys(every, pl.String),
            row_index_name=LINE,
            row_index_offset=start,
        )
        if frame.height != lines or len(frame.columns) != len(names) + 1:
            raise pl.exceptions.ComputeError("rows of several lines")
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        return salvage.delimited(body, separator, quoted=quoted, width=len(names), picked=picked, start=start)
    blank = pl.all_horizontal(pl.col(every).is_null())
    wanted = {ours: pl.col(f"c{at}") for ours, at in picked.items()}
    return frame.filter(~blank).select(pl.col(LINE).cast(pl.Int64), **wanted), salvage.nothing_bad()


def _separator(content: bytes, kind: Format, table: Reading) -> str:
    if table.separator is not None:
        return table.separator
    if kind == "csv":  # spreadsheets in half of Europe write semicolons
        first = QUOTED.sub(b"", content.split(b"\n", 1)[0])
        return "," if b"," in first else max(",;\t|", key=lambda s: first.count(s.encode()))
    return SEPARATORS[kind]


def _names(content: bytes, path: Path, kind: Format, table: Reading) -> list[str]:
    if b"\r" in content and b"\n" not in content:
        raise DataFault(f"{path}: its lines end in carriage returns alone; convert it: tr '\\r' '\\n'.")
    if table.names:
        return table.names
    first = content.split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    names = salvage.fields(first, _separator(content, kind, table), quoted=kind == "csv")
    if kind == "dat":
        return [str(n) for n in range(1, len(names) + 1)]
    return [name.split(":")[0] for name in names] if kind == "inter" else [name.strip() for name in names]
