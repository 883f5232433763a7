"""What every ranker made of every query, before anything is averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec import metrics
from llmrec.columns import QUERY, RANKER, USER
from llmrec.ranking import places

TABLE = "table"
SEED = "seed"


def per_query(
    table: str, rankings: dict[str, list[pl.DataFrame]], queries: pl.DataFrame, at: list[int]
) -> pl.DataFrame:
    """One row for each query, ranker and seed of a table, in the order of `queries` within each ranker.

    Columns: query, user, table, ranker, seed (number of the training seed, 0 is first), above and tied (see
    `llmrec.ranking.places`; above is -1 where the target is not listed), and every metric at every depth.
    Reads query, user, target of `queries` and query, item, score of each ranking.
    """
    rows = []
    for ranker, seeds in rankings.items():
        for seed, ranking in enumerate(seeds):
            placed = places(ranking, queries)
            above = placed["above"].fill_null(-1).to_numpy()
            tied = placed["tied"].fill_null(1).to_numpy()
            values = {name: metrics.measure(name, above, tied) for name in metrics.names(at)}
            rows.append(
                pl.DataFrame(
                    {QUERY: placed[QUERY], USER: placed[USER], "above": above, "tied": tied, **values},
                ).select(
                    QUERY,
                    USER,
                    pl.lit(table).alias(TABLE),
                    pl.lit(ranker).alias(RANKER),
                    pl.lit(seed, pl.Int32).alias(SEED),
                    pl.exclude(QUERY, USER),
                )
            )
    return pl.concat(rows)


@dataclass(frozen=True)
class Values:
    """The per-query values of one table as arrays: every ranker on the same queries in the same order."""

    users: npt.NDArray[np.int64]
    """The user of each query."""
    metrics: list[str]
    rankers: dict[str, npt.NDArray[np.float64]]
    """ranker -> (seeds, queries, metrics)."""

    @classmethod
    def of(cls, table: pl.DataFrame) -> Values:
        """From the per_query rows of one table."""
        names = [c for c in table.columns if "@" in c]
        rankers: dict[str, npt.NDArray[np.float64]] = {}
        users = np.empty(0, dtype=np.int64)
        for ranker in table[RANKER].unique(maintain_order=True):
            parts = table.filter(pl.col(RANKER) == ranker).partition_by(SEED, maintain_order=True)
            rankers[ranker] = np.stack([part.select(names).to_numpy() for part in parts])
            users = parts[0][USER].to_numpy().astype(np.int64)
        return cls(users, names, rankers)

    def only(self, rows: npt.NDArray[np.bool_] | None = None, metrics: list[str] | None = None) -> Values:
        """The values of some queries, of some metrics, or both."""
        keep = np.ones(len(self.users), dtype=bool) if rows is None else rows
        columns = [self.metrics.index(m) for m in metrics or self.metrics]
        rankers = {name: v[:, keep][:, :, columns] for name, v in self.rankers.items()}
        return Values(self.users[keep], [self.metrics[c] for c in columns], rankers)
