"""What every ranker made of every query, before anything is averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec import metrics, target_sets
from llmrec.columns import QUERY, RANKER, TARGET, USER
from llmrec.ranking import places

TABLE = "table"
SEED = "seed"

Columns = dict[str, npt.NDArray[Any]]


def per_query(
    table: str,
    rankings: Mapping[str, Sequence[pl.DataFrame | pl.LazyFrame]],
    queries: pl.DataFrame,
    at: list[int],
    *,
    primary: str | None = None,
    targets: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """One row for each query, ranker and seed of a table, in the order of `queries` within each ranker.

    Columns: query, user, table, ranker, seed (number of the training seed, 0 is first), above and tied (see
    `llmrec.ranking.places`; above is -1 where the target is not listed), and the metrics of `llmrec.metrics.names`.
    Reads query, user, target of `queries` and query, item, score of each ranking, which may be a scan of a file.
    `targets` (query, target) has every target of every query where queries have several; above and tied are then those
    of the one that stands best.
    """
    rows = []
    for ranker, seeds in rankings.items():
        for seed, ranking in enumerate(seeds):
            columns = (
                _one_target(ranking, queries, metrics.names(at, primary=primary))
                if targets is None
                else _several(ranking, queries, targets, metrics.names(at, several=True, primary=primary))
            )
            rows.append(
                queries.select(
                    QUERY,
                    USER,
                    pl.lit(table).alias(TABLE),
                    pl.lit(ranker).alias(RANKER),
                    pl.lit(seed, pl.Int32).alias(SEED),
                ).with_columns(pl.Series(name, column) for name, column in columns.items())
            )
    return pl.concat(rows)


def _one_target(ranking: pl.DataFrame | pl.LazyFrame, queries: pl.DataFrame, names: list[str]) -> Columns:
    above, tied = _stands(places(ranking, queries))
    return {"above": above, "tied": tied, **{name: metrics.measure(name, above, tied) for name in names}}


def _several(
    ranking: pl.DataFrame | pl.LazyFrame, queries: pl.DataFrame, targets: pl.DataFrame, names: list[str]
) -> Columns:
    placed = places(ranking, targets.select(QUERY, TARGET))
    groups = target_sets.Groups.of(*_stands(placed), placed[QUERY].to_numpy())
    asked = np.searchsorted(np.unique(placed[QUERY].to_numpy()), queries[QUERY].to_numpy())
    above, tied = np.full(len(asked), -1), np.ones(len(asked), dtype=int)
    best = groups.before == 0
    above[groups.query[best]], tied[groups.query[best]] = groups.above[best], groups.tied[best]
    values = {"above": above, "tied": tied, **{name: target_sets.measure(name, groups) for name in names}}
    return {name: column[asked] for name, column in values.items()}


def _stands(placed: pl.DataFrame) -> tuple[metrics.Counts, metrics.Counts]:
    """Places as the metrics take them: -1 above where the target is not listed."""
    return placed["above"].fill_null(-1).to_numpy(), placed["tied"].fill_null(1).to_numpy()


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
