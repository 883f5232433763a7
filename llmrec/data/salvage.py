"""Reads a damaged file row by row: what can be read, and for the rest the line, the reason and the raw text.

Slow (Python, a row at a time) and exact; only files that the strict readers refuse come here.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

BAD = {"line": pl.Int64, "reason": pl.String, "raw": pl.String}
NOT_UTF8 = "not UTF-8"
NOT_ONE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)  # what a line that is no object may raise
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


def objects(
    content: bytes, columns: Mapping[str, str], *, load: Callable[[bytes], Any], word: str, start: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Objects, one a line: (line and our columns as strings, bad rows). `load` reads a line, `word` is its language."""
    lines: list[int] = []
    values: dict[str, list[str | None]] = {ours: [] for ours in columns}
    bad: list[tuple[int, str, str]] = []
    for line, raw in enumerate(content.split(b"\n"), start=start):
        if not raw.strip():
            continue
        try:
            thing = load(raw)
        except UnicodeDecodeError:
            bad.append((line, NOT_UTF8, raw.decode("latin-1")))
            continue
        except NOT_ONE:
            bad.append((line, f"not {word}", raw.decode("utf-8", "replace")))
            continue
        if not isinstance(thing, dict):
            bad.append((line, f"not a {word} object", raw.decode("utf-8", "replace")))
            continue
        row = [_as_text(thing.get(theirs)) for theirs in columns.values()]
        if not all(value is None or value.isascii() or _is_unicode(value) for value in row):
            bad.append((line, "half a letter", raw.decode("utf-8", "replace")))
            continue
        lines.append(line)
        for ours, value in zip(columns, row, strict=True):
            values[ours].append(value)
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
        # Lines end in \n alone, as everywhere here: a stray \r is a fault of its row, not a line more.
        ended = (f"{line}\n" for line in text.removesuffix("\n").split("\n"))
        reader = csv.reader(ended, delimiter=separator, strict=True)
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


def _as_text(value: Any) -> str | None:
    """What is no text is written as JSON, and as Python where JSON has no word for it."""
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def _is_unicode(text: str) -> bool:
    """Not so of half a surrogate pair, which JSON can write (`\\ud83d`) and UTF-8 cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in text)


def _readable(text: str) -> str:
    """Bytes that are not UTF-8 shown as Latin-1, which has a letter for each."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8" if _is_utf8(text) else "latin-1")


def _bad(rows: list[tuple[int, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=BAD, orient="row")
