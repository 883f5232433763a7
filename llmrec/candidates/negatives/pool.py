"""What the draws of all queries share: the catalogue, the histories, and what others have ranked."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrec.candidates.alike import Alike
from llmrec.candidates.histories import by_user, whole_histories
from llmrec.columns import (
    BEHAVIOURS,
    COUNT,
    ITEM,
    ITEMS,
    KEY,
    QUERY,
    RANK,
    RATINGS,
    SCORE,
    TARGET,
    TEXT,
    TIME,
    TIMES,
    TRAIN,
    USER,
)
from llmrec.data.histories import time_unit
from llmrec.data.larder import A_SECOND
from llmrec.errors import DataFault
from llmrec.rng import rng_for

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

Found = tuple[int, int | None, float | None]  # item, its rank and score at the source
DAY = 86_400  # seconds


class Listed:
    """A ranking, query by query."""

    def __init__(self, ranking: pl.DataFrame) -> None:
        table = ranking.sort(QUERY, RANK)
        self._items, self._ranks, self._scores = (table[name].to_numpy() for name in (ITEM, RANK, SCORE))
        self._queries = table[QUERY].to_numpy()

    def of(self, query: int, ranks: list[int] | None) -> list[Found]:
        """A query's items, best first, from the first to the last of `ranks`; empty where it was not ranked."""
        a, b = np.searchsorted(self._queries, [query, query + 1])
        if ranks is not None:
            a, b = a + np.searchsorted(self._ranks[a:b], [ranks[0], ranks[1] + 1])
        columns = (self._items[a:b].tolist(), self._ranks[a:b].tolist(), self._scores[a:b].tolist())
        return [*zip(*columns, strict=True)]


class Pool:
    """The catalogue and the histories as sources read them; whatever is costly is made when it is first asked for.

    `retrieved` and `played` are rankings (query, item, rank, score) of training queries, `among` all the queries
    (query, target) that are asked, of which a call may draw for a part.
    """

    def __init__(
        self,
        larder: Larder,
        *,
        retrieved: pl.DataFrame | None = None,
        played: pl.DataFrame | None = None,
        among: pl.DataFrame | None = None,
        seed: int = 0,
    ) -> None:
        self.larder, self.n_items, self.seed, self._among = larder, larder.n_items, seed, among
        self._rankings = {"retrieved": retrieved, "self_play": played}
        self._listed: dict[str, Listed] = {}
        self._popularity: dict[float, np.ndarray] = {}
        self._values: dict[str, tuple[list[list[str]], dict[str, np.ndarray]]] = {}
        self._groups: dict[int, tuple[dict[int, int], np.ndarray]] = {}
        self._declined: dict[str, dict[int, list[Found]]] = {}
        self._near: dict[tuple[int, int], list[Found]] = {}

    @cached_property
    def histories(self) -> dict[int, np.ndarray]:
        """Each user's items, before and after any query."""
        return whole_histories(self.larder)

    @cached_property
    def trained(self) -> dict[int, int]:
        """How many of each user's items are in the training prefix."""
        return dict(self.larder.histories.select(USER, TRAIN).iter_rows())

    @cached_property
    def day(self) -> int:
        """A day in the unit that the data's times count."""
        return DAY * A_SECOND[time_unit(self.larder.histories) or "s"]

    @cached_property
    def times(self) -> dict[int, np.ndarray]:
        """When each of a user's items came, in the data's unit."""
        if self.larder.histories[TIMES].null_count():
            raise DataFault(
                "pairs: `recent` and guard.after read the clock, and the interactions have no times. Name their column "
                "in data.columns.time, or take the two away (guard.after: 0 goes by the order alone)."
            )
        return by_user(self.larder, TIMES)

    @cached_property
    def fashion(self) -> tuple[np.ndarray, np.ndarray]:
        """Items of all training interactions in the order of their times, and these times."""
        users = self.larder.histories[USER].to_list()
        cut = [(self.histories[u][: self.trained[u]], self.times[u][: self.trained[u]]) for u in users]
        items, times = (np.concatenate([one[part] for one in cut]) for part in range(2))
        order = np.argsort(times, kind="stable")
        return items[order], times[order]

    @cached_property
    def ratings(self) -> dict[int, np.ndarray]:
        """What each user gave each of their items."""
        return self._beside(RATINGS, "rated_lower", "Name their column in data.columns.rating")

    @cached_property
    def behaviours(self) -> dict[int, np.ndarray]:
        """How far each user went with each of their items: a place in the recipe's list, where 0 is furthest."""
        return self._beside(BEHAVIOURS, "lesser_behaviour", "Name them in data.behaviours")

    @cached_property
    def alike(self) -> Alike:
        """The items' texts, to be compared."""
        return Alike(self.larder.texts)

    def popularity(self, exponent: float) -> np.ndarray:
        """Cumulative powers of the training counts by item code, (n_items,): i64 where the power is 1, else f64."""
        if exponent not in self._popularity:
            counts = self.larder.catalogue.sort(ITEM)[COUNT].to_numpy()
            weights = counts if exponent == 1 else np.where(counts > 0, counts.astype(float) ** exponent, 0)
            self._popularity[exponent] = np.cumsum(weights)
        return self._popularity[exponent]

    def listed(self, source: str) -> Listed:
        """The ranking that a source draws from."""
        ranking = self._rankings[source]
        if ranking is None:
            raise DataFault(
                f"pairs.from: {source} has a share, and there is no ranking of the training queries to read."
            )
        if source not in self._listed:
            self._listed[source] = Listed(ranking)
        return self._listed[source]

    def values(self, field: str) -> tuple[list[list[str]], dict[str, np.ndarray]]:
        """Each item's values in a field of the catalogue, and the items of each value."""
        if field not in self._values:
            table = self.larder.catalogue.sort(ITEM)
            fields = [name for name in table.columns if name not in (ITEM, KEY, TEXT, COUNT)]
            if field not in fields:
                raise DataFault(
                    f"pairs.from: same_attribute.field is {field}, and the catalogue has "
                    f"{', '.join(fields) or 'no fields'}. Name one of those, or one more in data.items.columns."
                )
            column = table[field]
            if not isinstance(column.dtype, pl.List):
                column = column.cast(pl.String).str.replace_all(",", "|", literal=True).str.split("|")
            held = [
                [text for one in values or () if one is not None and (text := str(one).strip())]
                for values in column.to_list()
            ]
            of: dict[str, list[int]] = {}
            for item, values in enumerate(held):
                for value in values:
                    of.setdefault(value, []).append(item)
            self._values[field] = held, {value: np.asarray(items) for value, items in of.items()}
        return self._values[field]

    def nearest(self, item: int, upto: int) -> list[Found]:
        """The items that read most like one, at most `upto`, with place and cosine."""
        if (item, upto) not in self._near:
            items, cosines = (part[:upto].tolist() for part in self.alike.to(item))
            self._near[item, upto] = [*zip(items, range(1, len(items) + 1), cosines, strict=True)]
        return self._near[item, upto]

    def groups(self, size: int) -> tuple[dict[int, int], np.ndarray]:
        """All the queries in a drawn order, as the place of each and their targets; so many in a row are a group.

        They do not depend on which part of the queries is drawn for.
        """
        if size not in self._groups:
            if self._among is None or TARGET not in self._among.columns:
                raise DataFault("pairs.from: in_batch draws the targets of other queries, and none are given.")
            asked = self._among.sort(QUERY)
            order = rng_for(self.seed, "in_batch", size).permutation(asked.height)
            places = dict(zip(asked[QUERY].gather(order).to_list(), range(asked.height), strict=True))
            self._groups[size] = places, asked[TARGET].to_numpy()[order]
        return self._groups[size]

    def group(self, query: int, size: int) -> list[int]:
        """The targets of the queries in this one's group, its own left out."""
        places, targets = self.groups(size)
        if query not in places:
            raise DataFault(f"pairs.from: in_batch knows no query {query}: `among` has to hold all that are drawn for.")
        place = places[query]
        first = place - place % size
        return [*targets[first:place].tolist(), *targets[place + 1 : first + size].tolist()]

    def declined(self, reason: str) -> dict[int, list[Found]]:
        """What each user passed over or rated low while they could be learned from, with the rating, if there is one.

        Only what came before a user's first interaction that is held back, and before the last training interaction of
        all: later ones would tell of the time that is asked about. Rows without a time are taken as they are.
        """
        if reason not in self._declined:
            table = self.larder.declined.filter(pl.col("reason") == reason)
            if not table.height:
                why = {
                    "skipped": "the log has no impressions that were passed over: name them in "
                    "data.behaviours.exposed, or map their column with data.columns: {shown: ...}",
                    "low_rated": "no rows were rated below data.min_rating: set it",
                }[reason]
                raise DataFault(f"pairs.from: {reason} has a share, and {why}, or take the source away.")
            if not self.larder.histories[TIMES].null_count():
                trained, held = pl.col(TIMES).list.head(pl.col(TRAIN)), pl.col(TIMES).list.get(TRAIN, null_on_oob=True)
                ends = self.larder.histories.select(USER, held=held, last=trained.list.last().max())
                table = table.join(ends, on=USER, how="left", maintain_order="left").filter(
                    pl.col(TIME).is_null()
                    | ((pl.col(TIME) <= pl.col("last")) & (pl.col(TIME) < pl.col("held")).fill_null(True))
                )
            found: dict[int, list[Found]] = {}
            for user, item, rating in table.select(USER, ITEM, "rating").iter_rows():
                found.setdefault(user, []).append((item, None, rating))
            self._declined[reason] = found
        return self._declined[reason]

    def _beside(self, column: str, source: str, remedy: str) -> dict[int, np.ndarray]:
        table = self.larder.histories
        if column not in table.columns or table[column].null_count():
            raise DataFault(
                f"pairs.from: {source} has a share, and the histories have no {column}. {remedy}, or take it away."
            )
        assert (table[column].list.len() == table[ITEMS].list.len()).all()
        return by_user(self.larder, column)
