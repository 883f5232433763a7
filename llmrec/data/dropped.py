"""What was left out on the way, row by row, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

SCHEMA = {
    "file": pl.String,
    "line": pl.Int64,
    "reason": pl.String,
    "user": pl.String,
    "item": pl.String,
    "raw": pl.String,
}


@dataclass
class Dropped:
    """The account of rows that were left out; nothing leaves the data without an entry here."""

    parts: list[pl.DataFrame] = field(default_factory=list)

    def add(self, file: str, rows: pl.DataFrame, reason: str | None = None) -> None:
        """Enters rows of one file. They have `line` and any of reason, user, item, raw; `reason` is for all of them."""
        if rows.height:
            known = {name: pl.col(name) for name in SCHEMA if name in rows.columns}
            known["file"] = pl.lit(file)
            if reason is not None:
                known["reason"] = pl.lit(reason)
            given = [known.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in SCHEMA.items()]
            self.parts.append(rows.select(given))

    def table(self) -> pl.DataFrame:
        """All entries by file and line: file, line, reason, user, item, raw."""
        return pl.concat([pl.DataFrame(schema=SCHEMA), *self.parts]).sort("file", "line", maintain_order=True)

    def counts(self) -> dict[str, int]:
        """Rows a reason, the most frequent first."""
        reasons = pl.concat([pl.DataFrame(schema=SCHEMA), *self.parts]).select("reason")
        counted = reasons.group_by("reason").len().sort("len", "reason", descending=[True, False])
        return dict(zip(counted["reason"].to_list(), counted["len"].to_list(), strict=True))

    def words(self) -> str:
        """The counts in one line, for messages."""
        return "; ".join(f"{count:,} {reason}" for reason, count in self.counts().items()) or "none"
