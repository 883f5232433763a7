"""Tables as people keep them, to columns of ours: CSV, TSV, `::` between columns, RecBole's files, JSON lines, Parquet.

Each format has a fast and strict reader. Where it balks, `salvage` goes through the file row by row, keeps what can be
read and says of the rest which line, why, and what stood there.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from llmrec.data import salvage
from llmrec.data.manifest import Format, Table
from llmrec.errors import DataFault

LINE = "line"
FORMATS: dict[str, Format] = {
    "csv": "csv", "tsv": "tsv", "tab": "tsv", "dat": "dat", "inter": "inter", "item": "inter", "jsonl": "jsonl",
    "ndjson": "jsonl", "json": "jsonl", "parquet": "parquet", "pq": "parquet",
}  # fmt: skip
SEPARATORS: dict[Format, str] = {"csv": ",", "tsv": "\t", "inter": "\t", "dat": "::"}
HEAD = 1 << 22  # bytes that are looked at for column names
UNIT = "\x1f"  # stands in for separators of several characters, which polars' reader does not take


@dataclass(frozen=True)
class Rows:
    """What a file holds: `table` has `line` (from 1, headers count) and our columns; `bad` is what could not be read.

    bad: line, reason, raw. Columns of text files are strings; Parquet keeps its own types.
    """

    table: pl.DataFrame
    bad: pl.DataFrame


def format_of(path: Path, table: Table) -> Format:
    """The format that the manifest says, or the file's ending; DataFault where neither tells."""
    if table.format is not None:
        return table.format
    ending = Path(path.name.removesuffix(".gz")).suffix.lstrip(".").lower()
    if ending not in FORMATS:
        raise DataFault(
            f"{path}: what kind of file is .{ending}? Known are {', '.join(sorted(FORMATS))} (.gz too, except Parquet)."
        )
    return FORMATS[ending]


def header(path: Path, table: Table) -> list[str]:
    """The names of the file's columns; numbers from 1 where a `dat` file has no names."""
    kind = format_of(path, table)
    if kind == "parquet":
        return list(_parquet(path).collect_schema())
    return _header(_content(path, table, HEAD), path, kind, table)


def read(path: Path, table: Table, columns: Mapping[str, str]) -> Rows:
    """The named columns (ours -> the file's) of every row.

    Raises DataFault where the file is missing, empty, of another format than it says, or lacks a column.
    """
    kind = format_of(path, table)
    content = b"" if kind == "parquet" else _content(path, table)
    found = header(path, table) if kind == "parquet" else _header(content, path, kind, table)
    for ours, theirs in columns.items():
        if theirs not in found:
            raise DataFault(missing(path, ours, theirs, found))
    if kind == "parquet":
        return _read_parquet(path, columns)
    if kind == "jsonl":
        rows = _read_jsonl(content, columns)
    else:
        separator = _separator(content, kind, table)
        rows = _read_delimited(content, separator, kind, table, found, columns)
    if not rows.table.height:
        first = f" First: line {rows.bad[LINE][0]}: {rows.bad['reason'][0]}." if rows.bad.height else ""
        raise DataFault(f"{path}: not one row can be read as {kind}.{first}")
    return rows


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


def _header(content: bytes, path: Path, kind: Format, table: Table) -> list[str]:
    if kind == "jsonl":
        return _keys(content, path)
    return _names(content, _separator(content, kind, table), kind, table)


def _content(path: Path, table: Table, limit: int = -1) -> bytes:
    """The file, or its first `limit` bytes, as UTF-8 (still unchecked), unpacked, without a byte-order mark."""
    if path.is_dir():
        raise DataFault(f"{path}: is a folder; give a file.")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(limit)
    except FileNotFoundError:
        raise DataFault(f"{path}: there is no such file.") from None
    except (OSError, EOFError, zlib.error) as fault:
        raise DataFault(f"{path}: cannot be read ({fault}).") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataFault(f"{path}: is UTF-16; save it as UTF-8 (iconv -f utf-16 -t utf-8).")
    if content.startswith(b"PAR1"):
        raise DataFault(f"{path}: is Parquet inside; rename it to end in .parquet.")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise DataFault(f"{path}: is empty.")
    return content.decode("latin-1").encode() if table.encoding == "latin-1" else content


def _separator(content: bytes, kind: Format, table: Table) -> str:
    if table.separator is not None:
        return table.separator
    if kind == "csv":  # spreadsheets in half of Europe write semicolons
        first = content.split(b"\n", 1)[0]
        return "," if b"," in first else max(",;\t|", key=lambda s: first.count(s.encode()))
    return SEPARATORS[kind]


def _names(content: bytes, separator: str, kind: Format, table: Table) -> list[str]:
    if table.names:
        return table.names
    first = content.split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    names = salvage.fields(first, separator, quoted=kind == "csv")
    if kind == "dat":
        return [str(n) for n in range(1, len(names) + 1)]
    return [name.split(":")[0] for name in names] if kind == "inter" else [name.strip() for name in names]


def _read_delimited(
    content: bytes, separator: str, kind: Format, table: Table, names: list[str], columns: Mapping[str, str]
) -> Rows:
    headed = not table.names and kind != "dat"
    body = content.split(b"\n", 1)[1] if headed and b"\n" in content else b"" if headed else content
    quoted = kind == "csv"
    if len(separator) > 1 and UNIT.encode() not in body:
        body, separator = body.replace(separator.encode(), UNIT.encode()), UNIT
    start = 2 if headed else 1
    picked = {ours: names.index(theirs) for ours, theirs in columns.items()}
    lines = body.count(b"\n") + (not body.endswith(b"\n") and bool(body))
    try:
        if len(separator) > 1:
            raise pl.exceptions.ComputeError("several characters between columns")
        frame = pl.read_csv(
            body,
            has_header=False,
            separator=separator,
            quote_char='"' if quoted else None,
            infer_schema=False,
            row_index_name=LINE,
            row_index_offset=start,
            new_columns=[f"c{n}" for n in range(len(names))],
        )
        if frame.height != lines or len(frame.columns) != len(names) + 1:
            raise pl.exceptions.ComputeError("rows of several lines")
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        good, bad = salvage.delimited(body, separator, quoted=quoted, width=len(names), picked=picked, start=start)
        return Rows(good, bad)
    frame = frame.select(pl.col(LINE).cast(pl.Int64), **{ours: pl.col(f"c{at}") for ours, at in picked.items()})
    blank = pl.all_horizontal(pl.col(list(columns)).is_null())
    return Rows(frame.filter(~blank), salvage.nothing_bad())


def _keys(content: bytes, path: Path) -> list[str]:
    """Keys of the first thousand objects, in order of appearance."""
    keys: dict[str, None] = {}
    for line in content[:HEAD].splitlines()[:1000]:
        try:
            thing = json.loads(line)
        except (ValueError, UnicodeDecodeError):
            continue
        if isinstance(thing, dict):
            keys.update(dict.fromkeys(thing))
    if not keys:
        raise DataFault(f"{path}: holds no JSON lines; one object a line is expected, not one array.")
    return list(keys)


def _read_jsonl(content: bytes, columns: Mapping[str, str]) -> Rows:
    lines = content.count(b"\n") + (not content.endswith(b"\n"))
    try:
        frame = pl.read_ndjson(content, schema=dict.fromkeys(columns.values(), pl.String()))
        if frame.height != lines:
            raise pl.exceptions.ComputeError("blank lines")
    except pl.exceptions.PolarsError:
        return Rows(*salvage.jsonl(content, columns))
    renamed = frame.select(**{ours: pl.col(theirs) for ours, theirs in columns.items()})
    return Rows(renamed.with_row_index(LINE, 1).with_columns(pl.col(LINE).cast(pl.Int64)), salvage.nothing_bad())


def _parquet(path: Path) -> pl.LazyFrame:
    if not path.is_file():
        raise DataFault(f"{path}: {'is a folder; give a file' if path.is_dir() else 'there is no such file'}.")
    try:
        lazy = pl.scan_parquet(path)
        lazy.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise DataFault(f"{path}: is no Parquet file ({str(fault).splitlines()[0]}).") from None
    return lazy


def _read_parquet(path: Path, columns: Mapping[str, str]) -> Rows:
    chosen = _parquet(path).select(**{ours: pl.col(theirs) for ours, theirs in columns.items()})
    try:
        frame = chosen.with_row_index(LINE, 1).with_columns(pl.col(LINE).cast(pl.Int64)).collect()
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise DataFault(f"{path}: the file is damaged ({str(fault).splitlines()[0]}).") from None
    if not frame.height:
        raise DataFault(f"{path}: has no rows.")
    return Rows(frame, salvage.nothing_bad())
