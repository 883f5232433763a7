"""Reads a damaged file row by row: what can be read, and for the rest the line, the reason and the raw text.

Slow (Python, a row at a time) and exact; only files that the strict readers refuse come here.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

BAD = {"line": pl.Int64, "reason": pl.String, "raw": pl.String}
NOT_UTF8 = "not UTF-8"
LONGEST = 10_000_000  # characters in one field; csv's own limit of 131,072 is met by real product descriptions


def nothing_bad() -> pl.DataFrame:
    """An empty table of bad rows: line, reason, raw."""
    return pl.DataFrame(schema=BAD)


def fields(line: str, separator: str, *, quoted: bool) -> list[str]:
    """One line's fields."""
    if quoted and '"' in line and len(separator) == 1:
        with contextlib.suppress(csv.Error):  # bytes that are no text at all
            return next(csv.reader([line], delimiter=separator), [""])
    return line.split(separator)


def delimited(
    body: bytes, separator: str, *, quoted: bool, width: int, picked: Mapping[str, int], start: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of `width` fields: (line and the `picked` columns as strings, bad rows). `start` is the first row's line."""
    text = body.decode("utf-8", "surrogateescape")
    records: Iterable[Record] | None = None
    if quoted and len(separator) == 1:
        records = _whole(text, separator, start, width)
    if records is None:
        records = _by_line(text, separator, start, quoted=quoted)
    lines: list[int] = []
    values: dict[str, list[str | None]] = {ours: [] for ours in picked}
    bad: list[tuple[int, str, str]] = []
    for line, row, why in records:
        raw = separator.join(row)
        if why is None and not raw.strip():
            continue
        if why is None and not raw.isascii() and not _is_utf8(raw):
            why = NOT_UTF8
        if why is None and len(row) > width:
            why = f"{len(row)} columns, expected {width}"
        if why is not None:
            bad.append((line, why, _readable(raw)))
            continue
        lines.append(line)
        for ours, at in picked.items():
            values[ours].append(row[at] if at < len(row) else None)
    good = pl.DataFrame({"line": lines, **values}, schema={"line": pl.Int64, **dict.fromkeys(picked, pl.String)})
    return good, _bad(bad)


def jsonl(content: bytes, columns: Mapping[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Objects, one a line: (line and our columns as strings, bad rows)."""
    lines: list[int] = []
    values: dict[str, list[str | None]] = {ours: [] for ours in columns}
    bad: list[tuple[int, str, str]] = []
    for line, raw in enumerate(content.split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            thing = json.loads(raw)
        except UnicodeDecodeError:
            bad.append((line, NOT_UTF8, raw.decode("latin-1")))
            continue
        except (ValueError, RecursionError):
            bad.append((line, "not JSON", raw.decode("utf-8", "replace")))
            continue
        if not isinstance(thing, dict):
            bad.append((line, "not a JSON object", raw.decode("utf-8", "replace")))
            continue
        lines.append(line)
        for ours, theirs in columns.items():
            value = thing.get(theirs)
            as_it_is = value is None or isinstance(value, str)
            values[ours].append(value if as_it_is else json.dumps(value, ensure_ascii=False))
    good = pl.DataFrame({"line": lines, **values}, schema={"line": pl.Int64, **dict.fromkeys(columns, pl.String)})
    return good, _bad(bad)


Record = tuple[int, Sequence[str], str | None]  # line, fields, why it cannot be read


def _whole(text: str, separator: str, start: int, width: int) -> list[Record] | None:
    """Records as CSV has them, where a quoted field may hold line ends; None where the quotes do not add up.

    A quote that is never closed, or closed by another row's, swallows the lines between: such a file is read by line.
    """
    limit = csv.field_size_limit(LONGEST)
    records: list[Record] = []
    before = 0
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for row in reader:
            if reader.line_num - before > 1 and len(row) != width:
                return None
            records.append((start + before, row, None))
            before = reader.line_num
    except csv.Error:
        return None
    finally:
        csv.field_size_limit(limit)
    return records


def _by_line(text: str, separator: str, start: int, *, quoted: bool) -> Iterator[Record]:
    for line, ended in enumerate(text.split("\n"), start=start):
        raw = ended.rstrip("\r")
        if quoted and raw.count('"') % 2:
            yield line, [raw], "a quote is not closed"
        else:
            yield line, fields(raw, separator, quoted=quoted), None


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in text)


def _readable(text: str) -> str:
    """Bytes that are not UTF-8 shown as Latin-1, which has a letter for each."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8" if _is_utf8(text) else "latin-1")


def _bad(rows: list[tuple[int, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=BAD, orient="row")
