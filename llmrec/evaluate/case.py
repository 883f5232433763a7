"""What the audit looks at: everything that one comparison rests on, as far as it is known."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import ITEM, ITEMS, KEY, POSITION, QUERY, SOURCE, TARGET, TEXT, TIME, TIMES, TRAIN, USER
from llmrec.evaluate.finding import Part
from llmrec.evaluate.lists import Ints, Lists, keys_of, lists_of, rows_of

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

BEFORE = "before"
WORDS = re.compile(r"\w+")
UNKNOWN = "unknown"  # the source of a candidate whose supplier nobody named


@dataclass(frozen=True)
class Mined:
    """The rankings that hard negatives were taken from: of the training queries, and of validation queries."""

    training: pl.DataFrame
    asked: pl.DataFrame
    """The training queries that `training` answers."""
    valid: pl.DataFrame
    held: pl.DataFrame
    """The validation queries that `valid` answers."""


@dataclass(frozen=True)
class Case:
    """One comparison. Parts that are None are not known; checks that need them are left out, and named."""

    queries: pl.DataFrame
    rankings: Mapping[str, dict[str, list[pl.DataFrame]]]
    """table -> ranker -> one ranking a training seed."""
    candidates: Mapping[str, pl.DataFrame | None]
    """table -> query, items in slot order, source; None where everything not met is ranked, or nobody said."""
    primary: str = "ndcg@10"
    depth: int = 10
    """The deepest k that is measured."""
    seed: int = 0
    method: str | None = None
    """How interactions were split: `last`, `time`, or nobody said."""
    training: pl.DataFrame | None = None
    """user, item, position or null, time or null: what models were fitted on."""
    met: pl.DataFrame | None = None
    """query, item: what each query's user had met when asked."""
    clock: pl.DataFrame | None = None
    """query, time, before: when the target came, and when the interaction before it."""
    items: pl.DataFrame | None = None
    """item, key or null, text or null: the whole catalogue."""
    others: pl.DataFrame | None = None
    """The queries of other folds."""
    mined: Mined | None = None
    expected: Mapping[str, int] = field(default_factory=dict)
    """ranker -> seeds that the recipe asks for."""
    coded: bool = True
    """Whether items' codes are what rankers saw, not numbers that were given while reading."""

    def has(self, part: Part) -> bool:
        """Whether a part is known."""
        if part == "rankings":
            return any(self.rankings.values())
        if part in ("candidates", "sources"):
            tables = list(self.offered.values())
            return bool(tables) and (part == "candidates" or any(_sourced(table) for table in tables))
        if part == "times":
            timed = self.training is not None and self.training[TIME].null_count() < self.training.height
            return timed and self.queries[TIME].null_count() < self.queries.height
        if part == "moments":
            return any(self.ordered_by(column) for column in (POSITION, TIME))
        if part == "split":
            return self.method is not None or self.has("times")
        if part == "titles":
            return self.items is not None and self.items[TEXT].null_count() == 0
        known = {"met": self.met, "training": self.training, "catalogue": self.items, "mined": self.mined}
        return known[part] is not None

    def ordered_by(self, column: str) -> bool:
        """Whether every query and every training interaction has a position, or a time."""
        told = self.training is not None and not self.training[column].null_count()
        return told and not self.queries[column].null_count()

    @cached_property
    def offered(self) -> dict[str, pl.DataFrame]:
        """Candidate tables in the order of the queries: query, target, items, source."""
        order = self.queries.select(QUERY, TARGET)
        return {
            name: order.join(table.select(QUERY, ITEMS, SOURCE), on=QUERY, how="inner", maintain_order="left")
            for name, table in self.candidates.items()
            if table is not None
        }

    @cached_property
    def injected(self) -> dict[str, pl.DataFrame]:
        """Candidate tables whose sets hold the target, in the order of the queries."""
        return {name: table for name, table in self.offered.items() if table[SOURCE].list.contains("target").any()}

    @cached_property
    def widths(self) -> dict[str, int]:
        """Candidates a set, of the tables whose sets are all as large: only there are slots comparable."""
        sizes = {name: table[ITEMS].list.len().unique().to_list() for name, table in self.offered.items()}
        return {name: int(size[0]) for name, size in sizes.items() if len(size) == 1}

    @cached_property
    def slots(self) -> dict[str, Ints]:
        """The target's slot in every set of the injected tables, from 0."""
        where = pl.col(SOURCE).list.eval(pl.element() == "target").list.arg_max()
        return {n: t.select(where).to_series().to_numpy().astype(np.int64) for n, t in self.injected.items()}

    @cached_property
    def lists(self) -> dict[str, dict[str, list[Lists]]]:
        """table -> ranker -> how the lists of each training seed look."""
        targets = self.queries[TARGET].to_numpy().astype(np.int64)
        return {
            name: {
                ranker: [lists_of(ranking, rows_of(ranking, self.queries), targets) for ranking in seeds]
                for ranker, seeds in rankers.items()
            }
            for name, rankers in self.rankings.items()
        }

    def each(self, table: str) -> Iterator[tuple[str, Lists, pl.DataFrame]]:
        """Every ranking of a table: what to call it, how it looks, and itself."""
        for ranker, seeds in self.rankings[table].items():
            for number, ranking in enumerate(seeds):
                name = f"`{ranker}`" if len(seeds) == 1 else f"`{ranker}` (seed {number})"
                yield name, self.lists[table][ranker][number], ranking

    @cached_property
    def seen(self) -> Ints:
        """What users had met when they were asked, as sorted keys of (row of the query, item)."""
        if self.met is None:
            return np.empty(0, dtype=np.int64)
        keys = np.sort(keys_of(self.met, self.queries))
        return keys[np.diff(keys, prepend=-1) > 0]

    def is_seen(self, table: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Whether the user of each (query, item) row had met the item when asked."""
        keys = keys_of(table, self.queries)
        if not len(self.seen):
            return np.zeros(len(keys), dtype=bool)
        # Not np.isin, which would sort both sides again for every ranking.
        return np.asarray(self.seen[np.searchsorted(self.seen, keys).clip(max=len(self.seen) - 1)] == keys)

    @cached_property
    def met_candidates(self) -> dict[str, tuple[int, int]]:
        """Of each table's candidates other than the target: how many its user had met, and how many there are."""
        counts = {}
        for name, table in self.offered.items():
            rows = table.select(QUERY, TARGET, ITEMS).explode(ITEMS).rename({ITEMS: ITEM})
            rows = rows.filter(pl.col(ITEM) != pl.col(TARGET))
            counts[name] = (int(self.is_seen(rows).sum()), rows.height)
        return counts

    @cached_property
    def texts(self) -> list[str]:
        """How each item of the catalogue reads."""
        return [str(text) for text in self.items[TEXT]] if self.items is not None else []

    @cached_property
    def words(self) -> list[list[str]]:
        """The words of each item's text, without case, accents and punctuation."""
        plain = (unicodedata.normalize("NFKD", text.casefold()) for text in self.texts)
        return [WORDS.findall("".join(c for c in text if not unicodedata.combining(c))) for text in plain]


def parts_of(larder: Larder, queries: pl.DataFrame) -> dict[str, Any]:
    """What a run's larder knows of some queries, as fields of a Case."""
    histories = larder.histories
    whole = queries.select(QUERY, USER, POSITION, TIME).join(histories, on=USER, how="left", maintain_order="left")
    met = whole.select(QUERY, pl.col(ITEMS).list.head(pl.col(POSITION)).alias(ITEM)).explode(ITEM).drop_nulls()
    columns = [pl.col(ITEMS).list.head(pl.col(TRAIN)).alias(ITEM), pl.int_ranges(pl.col(TRAIN)).alias(POSITION)]
    timed = histories[TIMES].null_count() == 0
    prefixes = histories.filter(pl.col(TRAIN) > 0)
    flat = prefixes.select(USER, *columns).explode(ITEM, POSITION)
    times = prefixes.select(pl.col(TIMES).list.head(pl.col(TRAIN))).explode(TIMES)[TIMES] if timed else None
    clock = whole.filter(pl.col(POSITION) > 0).select(
        QUERY,
        pl.col(TIMES).list.get(pl.col(POSITION)).alias(TIME),
        pl.col(TIMES).list.get(pl.col(POSITION) - 1).alias(BEFORE),
    )
    return {
        "queries": queries,
        "training": flat.with_columns(times.alias(TIME) if times is not None else pl.lit(None, pl.Int64).alias(TIME)),
        "met": met,
        "clock": clock if timed else None,
        "items": larder.catalogue.select(ITEM, KEY, TEXT),
        "others": larder.queries.join(queries, on=QUERY, how="anti"),
    }


def _sourced(table: pl.DataFrame) -> bool:
    return bool((table[SOURCE].list.explode() != UNKNOWN).all())
