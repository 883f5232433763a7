"""One object a line: JSON, or Python literals, which older files on Amazon, Steam and Goodreads are written in."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.data import salvage, streams
from llmrec.data.rows import LINE, Piece
from llmrec.errors import DataFault
from llmrec.recipe.sections import Format, Reading

WORDS: dict[str, str] = {"jsonl": "JSON", "python": "Python"}


def header(path: Path, kind: Format, table: Reading) -> list[str]:
    """Keys of the first thousand objects, in order of appearance."""
    keys: dict[str, None] = {}
    load = _load(kind)
    for line in streams.head(path, table).split(b"\n")[:1000]:
        try:
            thing = load(line)
        except salvage.NOT_ONE:
            continue
        if isinstance(thing, dict):
            keys.update(dict.fromkeys(str(key) for key in thing))
    if not keys:
        raise DataFault(f"{path}: holds no {WORDS[kind]} lines; one object a line is expected, not one array.")
    return list(keys)


def pieces(path: Path, kind: Format, table: Reading, columns: Mapping[str, str]) -> Iterator[Piece]:
    """The named keys' values as strings, block by block; what is no string itself is written as JSON."""
    start = 1
    for block in streams.blocks(path, table, quoted=False):
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        yield Piece(*_parsed(block, kind, columns, start=start, lines=lines), lines)
        start += lines


def _parsed(
    block: bytes, kind: Format, columns: Mapping[str, str], *, start: int, lines: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    try:
        if kind != "jsonl":
            raise pl.exceptions.ComputeError("no JSON")
        frame = pl.read_ndjson(block, schema=dict.fromkeys(columns.values(), pl.String()))
        if frame.height != lines:
            raise pl.exceptions.ComputeError("blank lines")
    except pl.exceptions.PolarsError:
        return salvage.objects(block, columns, load=_load(kind), word=WORDS[kind], start=start)
    renamed = frame.select(**{ours: pl.col(theirs) for ours, theirs in columns.items()})
    return renamed.with_row_index(LINE, start).with_columns(pl.col(LINE).cast(pl.Int64)), salvage.nothing_bad()


def _load(kind: Format) -> Callable[[bytes], Any]:
    return json.loads if kind == "jsonl" else _literal


def _literal(line: bytes) -> Any:
    """Numbers, strings, lists and mappings; `ast.literal_eval` runs nothing, whatever stands there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a backslash in somebody's review
        return ast.literal_eval(line.decode().strip())
