"""A book club: everyone reads book after book, and what a ranker knows is set by hand.

Member m has read books m, m + 1, ... (round the shelf), one a day; the next one is the target. Rankers are made to put
each target at a place of one's choice, so that every number of an evaluation is known before it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.data.larder import Larder
from llmrec.ranking import QUERIES_SCHEMA, ranked, write_parquet

DAY = 86_400
READ = 4  # books before the target


def club(members: int = 60, books: int = 50, *, queries_each: int = 1) -> Larder:
    """Everyone's last `queries_each` books are targets; all that came before is training."""
    length = READ + queries_each
    shelf = [[(member + turn) % books for turn in range(length)] for member in range(members)]
    histories = pl.DataFrame(
        {
            "user": range(members),
            "items": shelf,
            "times": [[turn * DAY + member for turn in range(length)] for member in range(members)],
            "train": [READ] * members,
        },
        schema={"user": pl.Int32, "items": pl.List(pl.Int32), "times": pl.List(pl.Int64), "train": pl.Int32},
    )
    asked = [(member, READ + turn) for member in range(members) for turn in range(queries_each)]
    queries = pl.DataFrame(
        {
            "query": range(len(asked)),
            "user": [member for member, _ in asked],
            "position": [position for _, position in asked],
            "time": [position * DAY + member for member, position in asked],
            "target": [shelf[member][position] for member, position in asked],
            "fold": ["test"] * len(asked),
        }
    ).cast(QUERIES_SCHEMA)
    read = np.bincount([book for row in shelf for book in row[:READ]], minlength=books)
    catalogue = pl.DataFrame(
        {
            "item": range(books),
            "key": [f"isbn-{book}" for book in range(books)],
            "text": [f"Book {'of Books ' * (book % 3)}{book}" for book in range(books)],
            "count": read,
        },
        schema_overrides={"item": pl.Int32},
    )
    users = pl.DataFrame({"user": range(members), "key": [f"m{m}" for m in range(members)]})
    return Larder(histories, catalogue, queries, users.cast({"user": pl.Int32}))


def offered(larder: Larder, count: int = 10, *, source: str = "uniform", seed: int = 0) -> pl.DataFrame:
    """Candidates: the target and others that the member has not read, in an order that knows nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for query, target, context in zip(
        larder.queries["query"], larder.queries["target"], larder.contexts(larder.queries), strict=True
    ):
        unread = np.setdiff1d(np.arange(larder.n_items), [*context, target])
        books = [target, *rng.choice(unread, count - 1, replace=False).tolist()]
        order = rng.permutation(count)
        rows.append((query, [books[i] for i in order], ["target" if i == 0 else source for i in order]))
    schema = {"query": pl.Int64, "items": pl.List(pl.Int32), "source": pl.List(pl.String)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def placing(larder: Larder, candidates: pl.DataFrame, ranks: int | Sequence[int], *, ranker: str) -> pl.DataFrame:
    """A ranking that puts each query's target at a rank, 1 first; the others follow in the order of their codes."""
    ranks = [ranks] * candidates.height if isinstance(ranks, int) else list(ranks)
    query, item, score = [], [], []
    for (number, books, _), target, rank in zip(candidates.iter_rows(), larder.queries["target"], ranks, strict=True):
        order = sorted(book for book in books if book != target)
        order.insert(rank - 1, target)
        query += [number] * len(order)
        item += order
        score += [-float(place) for place in range(len(order))]
    return ranked(np.array(query), np.array(item), np.array(score), ranker=ranker, seed=0)


def listing(larder: Larder, ranks: int | Sequence[int | None], *, ranker: str, depth: int = 20) -> pl.DataFrame:
    """A ranking of the first books of the catalogue that a member has not read; rank None leaves the target out."""
    ranks = [ranks] * larder.queries.height if isinstance(ranks, int) else list(ranks)
    query, item, score = [], [], []
    contexts = larder.contexts(larder.queries)
    for number, target, context, rank in zip(
        larder.queries["query"], larder.queries["target"], contexts, ranks, strict=True
    ):
        order = [book for book in range(larder.n_items) if book not in {*context.tolist(), target}]
        if rank is not None:
            order.insert(rank - 1, target)
        query += [number] * depth
        item += order[:depth]
        score += [-float(place) for place in range(depth)]
    return ranked(np.array(query), np.array(item), np.array(score), ranker=ranker, seed=0)


def ranked_run(folder: Path, larder: Larder, candidates: pl.DataFrame) -> Path:
    """A run in which popularity puts every target fifth and orpo first, written into `folder`."""
    larder.write(folder / "prepare")
    write_parquet(candidates, folder / "candidates" / "uniform.parquet")
    (folder / "recipe.yaml").write_text("name: club\nsplit: {method: time}\narms: {orpo: {}}\n")
    for name, rank in (("popularity", 5), ("orpo", 1)):
        write_parquet(placing(larder, candidates, rank, ranker=name), folder / "rankings" / name / "uniform.parquet")
    return folder
