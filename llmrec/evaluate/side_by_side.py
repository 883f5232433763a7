"""Rankings that came from anywhere, compared: what `llmrec compare` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import ITEM, ITEMS, QUERY, TARGET
from llmrec.errors import RankingFault
from llmrec.evaluate.asked import Asked
from llmrec.evaluate.checks import Kind, check_rankings
from llmrec.evaluate.reach import AT, PRIMARY, settled
from llmrec.evaluate.sentences import FLOORS
from llmrec.evaluate.weigh import Weighed, weigh
from llmrec.metrics import split_name

FEW = 20  # below so many queries, a list that happens to hold every target says nothing of how it was made


@dataclass(frozen=True)
class Lists:
    """How one ranker's lists look."""

    holds_all: bool
    """Whether every query's target is listed."""
    width: int | None
    """Items a list, None where lists differ."""


def side_by_side(
    rankings: Mapping[str, pl.DataFrame],
    asked: Asked,
    *,
    at: list[int] | None = None,
    primary: str | None = None,
    full: bool = False,
    bootstrap: int = 2000,
    seed: int = 0,
) -> Weighed:
    """Every ranking measured on the same queries, every pair compared.

    Where all list the same items for each query, those are the candidates. Else the lists are taken for the first items
    of a full catalogue, where what is not listed is missed, unless they look like candidates that differ, or like
    candidates beside a catalogue: that is a RankingFault, which `full` overrules. Lists of a catalogue are measured no
    deeper than they go, see `llmrec.evaluate.reach.settled`.
    """
    seeds = {ranker: [ranking] for ranker, ranking in rankings.items()}
    check_rankings(seeds, asked.queries, None, where="compare", names=asked.called)
    targets = asked.queries.select(QUERY, TARGET) if asked.targets is None else asked.targets
    candidates, kind = (None, "catalogue") if full else _kind(rankings, asked, targets)
    if candidates is None:
        depths, metric = settled(seeds, asked.queries, _left(rankings, asked, targets), at, primary)
    else:
        metric = primary or PRIMARY
        depths = sorted({*(at or AT), split_name(metric)[1]})
    name = "shared" if candidates is not None else "catalogue"
    return weigh(
        name,
        seeds,
        asked.queries,
        candidates,
        kind,
        at=depths,
        primary=metric,
        bootstrap=bootstrap,
        seed=seed,
        trained=set(rankings) - set(FLOORS),
        targets=asked.targets,
    )


def _left(rankings: Mapping[str, pl.DataFrame], asked: Asked, targets: pl.DataFrame) -> npt.NDArray[np.int64]:
    """How many items there were to rank, as far as anybody knows: the catalogue's, else those that somebody names."""
    if asked.items is not None and asked.keyed:
        known = asked.items.height
    else:
        named = [ranking[ITEM] for ranking in rankings.values()]
        known = pl.concat([targets[TARGET], *named]).n_unique()
    return np.full(asked.queries.height, known, dtype=np.int64)


def _kind(
    rankings: Mapping[str, pl.DataFrame], asked: Asked, targets: pl.DataFrame
) -> tuple[pl.DataFrame | None, Kind]:
    queries, names = asked.queries, asked.called
    lists = {ranker: _lists(ranking, targets) for ranker, ranking in rankings.items()}
    first, *others = rankings
    differs = next((other for other in others if not _same_items(rankings[first], rankings[other])), None)
    if differs is None:
        sets = rankings[first].group_by(QUERY).agg(pl.col(ITEM).sort().alias(ITEMS))
        candidates = queries.select(QUERY).join(sets, on=QUERY, how="left", maintain_order="left")
        if lists[first].holds_all:
            return candidates, "injected"
        return (candidates, "two-stage") if others else (None, "catalogue")
    closed = [ranker for ranker, look in lists.items() if look.holds_all and look.width and queries.height >= FEW]
    if len(closed) == len(lists):
        query, item = _first_difference(rankings[first], rankings[differs])
        raise RankingFault(
            f"compare: `{first}` and `{differs}` rank different candidates, first for query "
            f"{names.of(QUERY, query)}, item {names.of(ITEM, item)}. "
            "Rank the same candidates to compare them; if these are full catalogues, say --full."
        )
    if closed:
        opened = next(ranker for ranker in lists if ranker not in closed)
        raise RankingFault(
            f"compare: `{closed[0]}` lists {lists[closed[0]].width} items with every target among them, as candidates "
            f"are, and `{opened}` does not. Candidates and a full catalogue are never mixed; if all of these are full "
            "catalogues, say --full."
        )
    return None, "catalogue"


def _lists(ranking: pl.DataFrame, targets: pl.DataFrame) -> Lists:
    wanted = targets.select(QUERY, pl.col(TARGET).alias(ITEM))
    held = wanted.join(ranking.select(QUERY, ITEM), on=[QUERY, ITEM], how="semi").height
    widths = ranking.group_by(QUERY).len()["len"].unique().to_list()
    return Lists(held == wanted.height, int(widths[0]) if len(widths) == 1 else None)


def _same_items(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    return a.height == b.height and not a.join(b, on=[QUERY, ITEM], how="anti").height


def _first_difference(a: pl.DataFrame, b: pl.DataFrame) -> tuple[int, int]:
    only = pl.concat([a.join(b, on=[QUERY, ITEM], how="anti"), b.join(a, on=[QUERY, ITEM], how="anti")])
    query, item = only.sort(QUERY, ITEM).select(QUERY, ITEM).row(0)
    return int(query), int(item)
