"""Interactions by user: in memory while they fit, in Parquet parts on disk where they do not.

A user's rows are all in one bucket, so that whatever is done a user at a time is done a bucket at a time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

COUNT = 64
SHARE = 0.3  # of the memory that may be taken, for rows that wait; sorting a bucket and the histories need the rest


class Buckets:
    """Rows in 64 buckets, each in order of arrival. `memory` is in bytes; what does not fit goes to `folder`."""

    def __init__(self, folder: Path, memory: float) -> None:
        self._folder, self._room = folder, memory * SHARE
        self._waiting: list[list[pl.DataFrame]] = [[] for _ in range(COUNT)]
        self._parts: list[list[Path]] = [[] for _ in range(COUNT)]
        self._bytes = 0.0
        self._written = 0
        self.rows = 0

    def add(self, rows: pl.DataFrame, bucket: np.ndarray) -> None:
        """Puts each row into its bucket."""
        if not rows.height:
            return
        self.rows += rows.height
        order = np.argsort(bucket, kind="stable")
        sorted_rows = rows[order]
        ends = np.cumsum(np.bincount(bucket, minlength=COUNT))
        for number, (start, end) in enumerate(zip(np.append(0, ends), ends, strict=False)):
            if end > start:
                self._waiting[number].append(sorted_rows[int(start) : int(end)])
        self._bytes += rows.estimated_size()
        if self._bytes > self._room:
            self._spill()

    def take(self, number: int) -> pl.DataFrame | None:
        """A bucket's rows, which leave it; None where it has none."""
        found = [pl.read_parquet(part) for part in self._parts[number]] + self._waiting[number]
        for part in self._parts[number]:
            part.unlink()
        self._bytes -= sum(table.estimated_size() for table in self._waiting[number])
        self._parts[number], self._waiting[number] = [], []
        table = pl.concat(found) if found else None
        self.rows -= table.height if table is not None else 0
        return table

    def put(self, number: int, rows: pl.DataFrame) -> None:
        """Gives a bucket rows that all belong there."""
        self.rows += rows.height
        self._waiting[number].append(rows)
        self._bytes += rows.estimated_size()
        if self._bytes > self._room:
            self._spill()

    def look(self, number: int, *columns: str) -> pl.DataFrame | None:
        """Some columns of a bucket's rows, which stay there; None where it has none."""
        found = [pl.read_parquet(part, columns=list(columns)) for part in self._parts[number]]
        found += [table.select(columns) for table in self._waiting[number]]
        return pl.concat(found) if found else None

    def write(self) -> list[Path]:
        """All rows as Parquet files in the folder, a bucket's in order."""
        self._spill()
        return [part for parts in self._parts for part in parts]

    def _spill(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for number, waiting in enumerate(self._waiting):
            if waiting:
                path = self._folder / f"{number:02d}-{self._written:05d}.parquet"
                pl.concat(waiting).write_parquet(path, compression="lz4")
                self._parts[number].append(path)
        self._waiting = [[] for _ in range(COUNT)]
        self._bytes, self._written = 0.0, self._written + 1
