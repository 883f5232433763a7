"""What was rejected, by source: how popular it is, and at which rank its source had it; as bars that Markdown shows."""

from __future__ import annotations

import numpy as np
import polars as pl

from llmrec.columns import COUNT, ITEM, RANK, SOURCE

BARS = " ▁▂▃▄▅▆▇█"
TENTHS = 10


def bars(counts: np.ndarray) -> str:
    """One character a count, the highest full; only a zero is blank.

    >>> bars(np.array([0, 1, 50, 100]))
    ' ▁▄█'
    """
    scaled = counts * (len(BARS) - 1) / max(1, counts.max(initial=0))
    return "".join(BARS[int(max(1, level)) if count else 0] for count, level in zip(counts, scaled, strict=True))


def percentiles(counts: pl.DataFrame) -> pl.DataFrame:
    """Each item's popularity percentile: the share of items with fewer training interactions, and half of its equals.

    Reads item, count; gives item, percentile in (0, 100).
    """
    place = (pl.col(COUNT).rank("average") - 0.5) * 100 / pl.len()
    return counts.select(ITEM, place.alias("percentile"))


def popularity_rows(train: pl.DataFrame, counts: pl.DataFrame) -> list[list[str]]:
    """A row for what was chosen and for each source of what was rejected: name, items, bars by tenth, median."""
    known = percentiles(counts).with_columns(pl.col(ITEM).cast(pl.Int32))
    chosen = train.select(pl.lit("chosen").alias(SOURCE), pl.col("chosen_item").alias(ITEM))
    rejected = train.select(pl.col("rejected_from").alias(SOURCE), pl.col("rejected_items").alias(ITEM))
    rejected = rejected.explode(SOURCE, ITEM, empty_as_null=False).sort(SOURCE, maintain_order=True)
    placed = pl.concat([chosen, rejected]).join(known, on=ITEM, how="left", maintain_order="left")
    rows = []
    for (name,), part in placed.group_by(SOURCE, maintain_order=True):
        values = part["percentile"].to_numpy()
        spread = np.bincount(np.clip(values // (100 / TENTHS), 0, TENTHS - 1).astype(int), minlength=TENTHS)
        rows.append([str(name), f"{len(values):,}", f"`{bars(spread)}`", f"{np.median(values):.0f}"])
    return rows


def rank_rows(train: pl.DataFrame) -> list[list[str]]:
    """A row for each source that ranks: name, items, its first and last rank, bars by tenth between them, median."""
    ranks = train.select(pl.col("rejected_from").alias(SOURCE), pl.col("rejected_rank").alias(RANK))
    ranks = ranks.explode(SOURCE, RANK, empty_as_null=False).drop_nulls(RANK).sort(SOURCE, maintain_order=True)
    rows = []
    for (name,), part in ranks.group_by(SOURCE, maintain_order=True):
        values = part[RANK].to_numpy()
        spread, _ = np.histogram(values, bins=TENTHS, range=(values.min(), values.max() + 1))
        ends = f"{values.min()} to {values.max()}"
        rows.append([str(name), f"{len(values):,}", ends, f"`{bars(spread)}`", f"{np.median(values):.0f}"])
    return rows
