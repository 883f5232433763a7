"""Parquet and Arrow (IPC, Feather, what `datasets` saves): columns that keep their types, read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from llmrec.data import salvage
from llmrec.data.rows import LINE, Piece, of_bytes
from llmrec.errors import DataFault
from llmrec.recipe.sections import Format, Reading

BATCH = 1 << 17  # rows decoded at once
WORDS: dict[str, str] = {"parquet": "Parquet", "arrow": "Arrow"}
FAULTS = (pa.ArrowException, OSError)  # ArrowInvalid is a ValueError too


def header(path: Path, kind: Format, table: Reading) -> list[str]:
    """The names of the columns."""
    with _opened(path, kind) as file:
        return list(file.schema.names)


def types(path: Path, kind: Format, columns: Mapping[str, str]) -> pl.Schema:
    """The polars types of the named columns."""
    with _opened(path, kind) as file:
        return _frame(file.schema.empty_table(), columns).schema


def pieces(path: Path, kind: Format, table: Reading, columns: Mapping[str, str]) -> Iterator[Piece]:
    """The named columns with their types, batch by batch; DataFault where the file breaks off or is damaged."""
    start = 1
    with _opened(path, kind) as file:
        batches = file.batches(list(dict.fromkeys(columns.values())))
        while True:
            try:
                batch = next(batches, None)
            except FAULTS as fault:
                raise DataFault(
                    f"{path}: the file is damaged after row {start - 1:,} ({_first(fault)}). Get it again."
                ) from None
            if batch is None:
                return
            frame = _frame(pa.Table.from_batches([batch]), columns).with_row_index(LINE, start)
            yield Piece(frame.with_columns(pl.col(LINE).cast(pl.Int64)), salvage.nothing_bad(), frame.height)
            start += frame.height


def _frame(table: pa.Table, columns: Mapping[str, str]) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(table.select(list(dict.fromkeys(columns.values())))))
    frame = frame.select(**{ours: pl.col(theirs) for ours, theirs in columns.items()})
    raw = [pl.Series(c.name, map(of_bytes, c), dtype=pl.String) for c in frame if c.dtype == pl.Binary]
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String)).with_columns(raw)


class _Parquet:
    def __init__(self, path: Path) -> None:
        self.file = pq.ParquetFile(path)
        self.schema: pa.Schema = self.file.schema_arrow

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        # One row group after another: a reader of all of them keeps what it has read until the end.
        groups = range(self.file.num_row_groups)
        return (batch for at in groups for batch in self.file.iter_batches(BATCH, row_groups=[at], columns=columns))


class _Arrow:
    """The two forms of IPC: a file, which begins with its name, and a stream, as `datasets` writes it."""

    def __init__(self, path: Path, source: pa.NativeFile) -> None:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        self.reader: Any = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        self.is_file = is_file
        self.schema: pa.Schema = self.reader.schema

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        count = self.reader.num_record_batches if self.is_file else 0
        every = (self.reader.get_batch(n) for n in range(count)) if self.is_file else iter(self.reader)
        return (batch.select(columns) for batch in every)


@contextmanager
def _opened(path: Path, kind: Format) -> Iterator[_Parquet | _Arrow]:
    if not path.is_file():
        raise DataFault(f"{path}: there is no such file.")
    source = pa.memory_map(str(path)) if kind == "arrow" and path.stat().st_size else None
    try:
        try:
            file = _Parquet(path) if kind == "parquet" else _Arrow(path, source or pa.BufferReader(b""))
        except FAULTS as fault:
            raise DataFault(f"{path}: is no {WORDS[kind]} file ({_first(fault)}).") from None
        yield file
    finally:
        if source is not None:
            source.close()


def _first(fault: BaseException) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0].rstrip(".")
