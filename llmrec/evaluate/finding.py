"""What the audit says, and what it looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import ITEM, ITEMS, QUERY, SOURCE, TARGET

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

Level = Literal["disqualifies", "warns", "notes"]
LEVELS: tuple[Level, ...] = ("disqualifies", "warns", "notes")


@dataclass(frozen=True)
class Finding:
    """One thing the audit found. `disqualifies`: the numbers do not mean what they say; `warns`: they may not."""

    level: Level
    what: str
    where: str


@dataclass(frozen=True)
class Case:
    """Everything that one comparison rests on."""

    larder: Larder
    queries: pl.DataFrame
    rankings: Mapping[str, dict[str, list[pl.DataFrame]]]
    candidates: Mapping[str, pl.DataFrame | None]
    method: str
    depth: int
    """The deepest k that is measured."""
    seed: int

    @cached_property
    def injected(self) -> dict[str, pl.DataFrame]:
        """Candidate tables whose sets hold the target, in the order of the queries: + target."""
        return {name: table for name, table in self.offered.items() if table[SOURCE].list.contains("target").any()}

    @cached_property
    def offered(self) -> dict[str, pl.DataFrame]:
        """Candidate tables in the order of the queries: query, target, items, source."""
        order = self.queries.select(QUERY, TARGET)
        return {
            name: order.join(table.select(QUERY, ITEMS, SOURCE), on=QUERY, how="inner", maintain_order="left")
            for name, table in self.candidates.items()
            if table is not None and name in self.rankings
        }

    @cached_property
    def seen(self) -> npt.NDArray[np.int64]:
        """What users had met when they were asked, as sorted `keys`."""
        contexts = self.larder.contexts(self.queries)
        rows = np.repeat(np.arange(len(contexts)), [len(context) for context in contexts])
        items = np.concatenate([*contexts, np.empty(0, dtype=np.int32)]).astype(np.int64)
        keys = np.sort(rows * np.int64(self.larder.n_items) + items)
        return keys[np.diff(keys, prepend=-1) > 0]

    def keys(self, table: pl.DataFrame) -> npt.NDArray[np.int64]:
        """One number for each (query, item) row of a table."""
        rows = table.select(QUERY).join(
            self.queries.select(QUERY).with_row_index("row"), on=QUERY, maintain_order="left"
        )
        row, item = rows["row"].to_numpy().astype(np.int64), table[ITEM].to_numpy().astype(np.int64)
        return np.asarray(row * self.larder.n_items + item)

    def is_seen(self, table: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Whether the user of each (query, item) row had met the item when asked."""
        keys = self.keys(table)
        if not len(self.seen):
            return np.zeros(len(keys), dtype=bool)
        # Not np.isin, which would sort both sides again for every ranking.
        return np.asarray(self.seen[np.searchsorted(self.seen, keys).clip(max=len(self.seen) - 1)] == keys)


def share(part: float, whole: float) -> str:
    """A share as people read it: 12 %, 0.3 %."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"
