"""What `prepare` made, in numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from llmrec.columns import BEHAVIOURS, COUNT, FOLD, ITEMS, TEXT, TIMES, TRAIN
from llmrec.data.dropped import Dropped
from llmrec.data.histories import time_unit
from llmrec.data.opening import Stock
from llmrec.data.splits import Held
from llmrec.files import write_json
from llmrec.recipe.sections import Behaviours, Data, Split

if TYPE_CHECKING:
    from llmrec.data.larder import Larder


@dataclass(frozen=True)
class Summary:
    """Counts and shares of a prepared dataset; `summary.json` has them under the same names."""

    dataset: str
    """The manifest's name, or the file's."""
    origin: str
    """Where the rows came from."""
    users: int
    items: int
    interactions: int
    density: float
    """Share of all (user, item) cells that hold an interaction."""
    history: dict[str, float]
    """Interactions a user: shortest, median, mean, longest."""
    trained_on: int
    """Interactions in training prefixes."""
    cold_items: int
    """Items that no training prefix holds."""
    queries: dict[str, int]
    """Queries a fold."""
    split: dict[str, Any]
    moments: dict[str, int] | None
    """`time`: the first moment of validation and of test, in the file's unit."""
    time_unit: str | None
    """`s`, `ms` or `us`, by the size of the numbers; null without times."""
    ties: dict[str, float] | None
    """Share of a user's neighbouring interactions at the same time, and of users whose last two are."""
    tie_rule: str
    duplicate_texts: dict[str, float]
    """Items that read like another one: how many, and their share."""
    untitled: int
    """Items without a name, which read as their key."""
    read: int
    """Rows of interactions in the file."""
    dropped: dict[str, int]
    """Rows left out, by reason; each is in rejected_rows.parquet."""
    declined: dict[str, int] = field(default_factory=dict)
    """Items that users who stay were shown and passed over (`skipped`), or rated low (`low_rated`, also left out)."""
    listed: dict[str, int] = field(default_factory=dict)
    """Items in the column `shown` that are not declined, by reason."""
    behaviours: dict[str, Any] | None = None
    """`target` and `context`, as the recipe names them, in the order of histories' places; and a count of each."""

    def write(self, path: Path) -> None:
        """Writes the summary as JSON."""
        write_json(asdict(self), path)

    @classmethod
    def read_from(cls, path: Path) -> Summary:
        """The summary in a file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def summarised(
    larder: Larder, stock: Stock, held: Held, *, data: Data, split: Split, untitled: int, dropped: Dropped
) -> Summary:
    """The numbers of a larder."""
    lengths = larder.histories[ITEMS].list.len().to_numpy().astype(np.int64)
    total = int(lengths.sum())
    texts = larder.catalogue[TEXT]
    shared = int(texts.is_duplicated().sum())
    folds = dict(larder.queries.group_by(FOLD).len().iter_rows())
    return Summary(
        dataset=stock.named.name,
        origin=stock.named.origin,
        users=larder.users.height,
        items=larder.n_items,
        interactions=total,
        density=total / (larder.users.height * larder.n_items),
        history={
            "shortest": int(lengths.min()),
            "median": float(np.median(lengths)),
            "mean": float(lengths.mean()),
            "longest": int(lengths.max()),
        },
        trained_on=int(larder.histories[TRAIN].sum()),
        cold_items=int((larder.catalogue[COUNT] == 0).sum()),
        queries={fold: int(folds.get(fold, 0)) for fold in ("valid", "test")},
        split=split.model_dump(),
        moments=held.moments,
        time_unit=time_unit(larder.histories),
        ties=_ties(larder.histories, lengths),
        tie_rule=stock.named.ties,
        duplicate_texts={"items": shared, "share": shared / larder.n_items},
        untitled=untitled,
        read=stock.arrivals.read,
        dropped=dropped.counts(),
        declined=dict(sorted(larder.declined.group_by("reason").len().iter_rows())),
        listed={reason: n for reason, n in sorted(stock.arrivals.listed.items()) if n},
        behaviours=_behaviours(larder, data.behaviours),
    )


def _behaviours(larder: Larder, named: Behaviours | None) -> dict[str, Any] | None:
    if named is None:
        return None
    counts = np.bincount(larder.histories[BEHAVIOURS].explode().to_numpy(), minlength=len(named.names)).tolist()
    return {"target": named.target, "context": named.context, "counts": dict(zip(named.names, counts, strict=True))}


def _ties(histories: pl.DataFrame, lengths: np.ndarray) -> dict[str, float] | None:
    if histories[TIMES].null_count():
        return None
    times = histories[TIMES].explode().to_numpy()
    same = times[1:] == times[:-1]
    ends = np.cumsum(lengths) - 1
    same[ends[:-1]] = False  # one user's last and the next one's first
    neighbours = int(lengths.sum()) - len(lengths)
    several = ends[lengths > 1]
    return {
        "neighbours": float(same.sum() / max(1, neighbours)),
        "last_two": float(same[several - 1].mean()) if len(several) else 0.0,
    }
