"""What was left out on the way, row by row, with the reason; a great many rows wait on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

from llmrec.files import replacing

SCHEMA = {
    "file": pl.String,
    "line": pl.Int64,
    "reason": pl.String,
    "user": pl.String,
    "item": pl.String,
    "raw": pl.String,
}
ROOM = 1_000_000  # rows in memory, where there is a folder for the others
RANGE = 4_000_000  # lines that are put in order at once


class Dropped:
    """The account of rows that were left out; nothing leaves the data without an entry here."""

    def __init__(self, folder: Path | None = None, room: int = ROOM) -> None:
        self._folder, self._room = folder, room
        self._held: list[pl.DataFrame] = []
        self._parts: list[Path] = []
        self._counts: Counter[str] = Counter()
        self._lines: dict[str, int] = {}

    def add(self, file: str, rows: pl.DataFrame, reason: str | None = None) -> None:
        """Enters rows of one file. They have `line` and any of reason, user, item, raw; `reason` is for all of them."""
        if not rows.height:
            return
        known = {name: pl.col(name) for name in SCHEMA if name in rows.columns}
        known["file"] = pl.lit(file)
        if reason is not None:
            known["reason"] = pl.lit(reason)
        given = [known.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in SCHEMA.items()]
        table = rows.select(given)
        self._counts.update(dict(table.group_by("reason").len().iter_rows()))
        self._lines[file] = max(self._lines.get(file, 0), int(table.select(pl.col("line").max()).item() or 0))
        self._held.append(table)
        if self._folder is not None and sum(part.height for part in self._held) > self._room:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._parts.append(self._folder / f"{len(self._parts):05d}.parquet")
            pl.concat(self._held).sort("file", "line").write_parquet(self._parts[-1], row_group_size=1 << 17)
            self._held = []

    def table(self) -> pl.DataFrame:
        """All entries by file, line and reason: file, line, reason, user, item, raw."""
        parts = [pl.read_parquet(part) for part in self._parts]
        return pl.concat([pl.DataFrame(schema=SCHEMA), *parts, *self._held]).sort("file", "line", "reason")

    def write(self, path: Path) -> Path:
        """Writes the table, some lines at a time: the same file however many entries waited on disk."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = pa.schema([(name, pa.int64() if name == "line" else pa.large_string()) for name in SCHEMA])
        held = pl.concat([pl.DataFrame(schema=SCHEMA), *self._held])
        with replacing(path) as partial, pq.ParquetWriter(partial, columns, compression="zstd") as out:
            for file, last in sorted(self._lines.items()):
                for start in range(0, last + 1, RANGE):
                    mine = (pl.col("file") == file) & pl.col("line").is_between(start, start + RANGE - 1)
                    found = [pl.scan_parquet(part).filter(mine).collect() for part in self._parts]
                    table = pl.concat([held.filter(mine), *found]).sort("line", "reason")
                    out.write_table(table.to_arrow().cast(columns), row_group_size=1 << 20)
        return path

    def counts(self) -> dict[str, int]:
        """Rows a reason, the most frequent first."""
        return dict(sorted(self._counts.items(), key=lambda entry: (-entry[1], entry[0])))

    def words(self) -> str:
        """The counts in one line, for messages."""
        return "; ".join(f"{count:,} {reason}" for reason, count in self.counts().items()) or "none"
