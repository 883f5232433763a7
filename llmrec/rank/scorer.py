"""One number for each item of the catalogue, and the two rankings that follow from it.

A scorer reads histories and knows nothing of targets, candidates or folds. `rank_candidates` and `rank_catalogue` ask
it in batches, so that queries x items is never held at once, and give what it said as a ranking table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import polars as pl

from llmrec.columns import ITEMS, QUERY, TIME
from llmrec.data.larder import Larder
from llmrec.errors import RankingFault
from llmrec.progress import track
from llmrec.ranking import QUERIES_SCHEMA, RANKING_SCHEMA, ranked

if TYPE_CHECKING:
    from llmrec.retriever.topk import Found

OFFERED = "offered"
CELLS = 1 << 23  # scores held at once: 32 MB of float32
SEARCHED = 1024  # queries at once, at most


class Scorer(Protocol):
    """Anything that can say how well each item of the catalogue would follow a history."""

    @property
    def name(self) -> str:
        """The ranker's name: its folder under `rankings/`, and the column `ranker` of its table."""

    def scores(self, contexts: Sequence[np.ndarray], times: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """One row a context, one column an item: (b, n_items) float32, finite, higher is better.

        `contexts` are item codes, oldest first. `times` holds, for each, the moments of its items and last that of the
        query itself, in seconds, nan where one is not known, for scorers that look at the clock; the others ignore it.
        Items already seen are scored like any other.
        """


@runtime_checkable
class Searcher(Scorer, Protocol):
    """A scorer that finds the best of a catalogue without scoring all of it for all at once."""

    def best(
        self, contexts: Sequence[np.ndarray], k: int, times: Sequence[np.ndarray] | None = None, *, masked: bool = True
    ) -> Found:
        """The first `k` items after each context, its own left out where `masked`, and whatever ties with the k-th."""


def rank_candidates(
    scorer: Scorer, larder: Larder, queries: pl.DataFrame, candidates: pl.DataFrame, *, seed: int
) -> pl.DataFrame:
    """Every query's candidates in the scorer's order, as a ranking table.

    Reads `query, user, position, time` of the queries and `query, items` of the candidates. Raises RankingFault when a
    query has no candidates, or a score is not finite.
    """
    lists = candidates.select(QUERY, pl.col(ITEMS).alias(OFFERED))
    offered = queries.join(lists, on=QUERY, how="left", maintain_order="left")
    bare = offered.filter(pl.col(OFFERED).is_null() | (pl.col(OFFERED).list.len() == 0))
    if bare.height:
        raise RankingFault(
            f"candidates: query {bare[QUERY][0]} has none ({bare.height:,} queries in all). Every query is ranked "
            "against candidates of its own: draw them for the same queries."
        )
    parts = []
    for part, _, scores in _batches(scorer, larder, offered):
        items = part[OFFERED].explode().to_numpy()
        rows = np.repeat(np.arange(part.height), part[OFFERED].list.len().to_numpy())
        parts.append((part[QUERY].to_numpy()[rows], items, scores[rows, items]))
    return _table(parts, scorer.name, seed)


def rank_catalogue(
    scorer: Scorer, larder: Larder, queries: pl.DataFrame, k: int, *, seed: int, masked: bool = True
) -> pl.DataFrame:
    """The first `k` items of the whole catalogue, seen ones left out where `masked`, and whatever ties with the k-th.

    Seen are the items of the query's context; not masked, they are ranked like any other. A ranking shorter than k says
    that fewer items were left. Reads `query, user, position, time` of the queries. Raises RankingFault when a score is
    not finite.
    """
    parts = []
    if isinstance(scorer, Searcher):
        for part, contexts, times in _asked(scorer, larder, queries, SEARCHED):
            found = scorer.best(contexts, k, times, masked=masked)
            parts.append((part[QUERY].to_numpy()[found.rows], found.items, found.scores))
        return _table(parts, scorer.name, seed)
    for part, contexts, scores in _batches(scorer, larder, queries):
        if masked:
            seen = np.repeat(np.arange(len(contexts)), [len(c) for c in contexts])
            scores[seen, np.concatenate(contexts)] = -np.inf
        rows, items = np.nonzero(first_and_tied(scores, k))
        parts.append((part[QUERY].to_numpy()[rows], items, scores[rows, items]))
    return _table(parts, scorer.name, seed)


def first_and_tied(scores: np.ndarray, k: int) -> np.ndarray:
    """Which entries of each row are among its k highest or tie with the k-th, (b, n) bool; -inf never is."""
    if k < 1:
        raise ValueError(f"k is {k}; a ranking holds at least one item")
    finite = scores > -np.inf
    if k >= scores.shape[1]:
        return finite
    kth = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k, None]
    return np.asarray((scores >= kth) & finite)


def _batches(
    scorer: Scorer, larder: Larder, queries: pl.DataFrame
) -> Iterator[tuple[pl.DataFrame, list[np.ndarray], np.ndarray]]:
    """Queries, their contexts and a writable (b, n_items) of scores, a batch at a time."""
    n_items = larder.n_items
    size = max(1, min(SEARCHED, CELLS // max(1, n_items)))
    for part, contexts, times in _asked(scorer, larder, queries, size):
        scores = np.array(scorer.scores(contexts, times), dtype=np.float32)
        if scores.shape != (len(contexts), n_items):
            raise RankingFault(
                f"{scorer.name}: scores come as {scores.shape}; {len(contexts)} histories and a catalogue of "
                f"{n_items:,} items need ({len(contexts)}, {n_items}). Was it fitted on this catalogue?"
            )
        bad = np.argwhere(~np.isfinite(scores))
        if len(bad):
            row, item = bad[0]
            raise RankingFault(
                f"{scorer.name}: {len(bad):,} scores are not finite, first for query {part[QUERY][int(row)]}, "
                f"item {item} ({scores[row, item]}). A ranking needs finite scores."
            )
        yield part, contexts, scores


def _asked(
    scorer: Scorer, larder: Larder, queries: pl.DataFrame, size: int
) -> Iterator[tuple[pl.DataFrame, list[np.ndarray], list[np.ndarray] | None]]:
    """Queries, their contexts and the moments of those, `size` at a time."""
    for start in track(range(0, queries.height, size), f"ranking with {scorer.name}"):
        part = queries.slice(start, size)
        contexts = larder.contexts(part.select(c for c in QUERIES_SCHEMA if c in part.columns))
        yield part, contexts, larder.moments(part) if TIME in part.columns else None


def _table(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], ranker: str, seed: int) -> pl.DataFrame:
    if not parts:
        return pl.DataFrame(schema=RANKING_SCHEMA)
    query, item, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ranked(query, item, score, ranker=ranker, seed=seed)
