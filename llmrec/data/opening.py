"""Opens what a recipe's `data` section names: a dataset by its manifest, or a file of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.columns import ITEM, KEY, TIME, USER
from llmrec.data import readers, sources
from llmrec.data.catalogue import RESERVED, Described, described, first_texts, placeholders
from llmrec.data.dropped import Dropped
from llmrec.data.interactions import BEHAVIOUR, RATING, Arrivals
from llmrec.data.manifest import Table, find_manifest
from llmrec.errors import DataFault
from llmrec.progress import note
from llmrec.recipe.sections import Data, Reading

PIECE = 1_000_000  # rows read at once
TIES = "Interactions of a user at the same time keep the file's order."


@dataclass(frozen=True)
class Named:
    """Where the tables of a `data` section lie, and how to read them."""

    name: str
    origin: str
    ties: str
    interactions: tuple[Path, Table]
    items: tuple[Path, Table] | None


@dataclass(frozen=True)
class Stock:
    """Interactions as they arrived, and what is known of the items."""

    named: Named
    arrivals: Arrivals
    items: Described | None
    """None where their texts stand beside the interactions."""

    @property
    def file(self) -> str:
        """The interactions file's name, for messages and for rejected_rows.parquet."""
        return self.named.interactions[0].name

    def described(self, keys: pl.Series, places: np.ndarray) -> Described:
        """The items' texts, when it is known what the items are called: keys in order, the place of each number."""
        if self.items is not None:
            return self.items
        found = self.arrivals.texts()
        told = found.with_columns(keys[pl.Series(places[found[ITEM].to_numpy()])].alias(ITEM)).rename({ITEM: KEY})
        return Described(first_texts(told, KEY))


def opened(data: Data, *, here: Path, dropped: Dropped, work: Path, memory: float) -> Stock:
    """The interactions and items that `data` names; rows that cannot be used go to `dropped`.

    `memory`, in bytes, is what rows may take that wait; the others wait in the folder `work`.
    """
    named = _of_manifest(data, here) if data.dataset is not None else _of_ones_own(data, here)
    path, table = named.interactions
    columns = dict(table.columns)
    if BEHAVIOUR in columns and data.behaviours is None:
        del columns[BEHAVIOUR]
        note("prepare: all behaviours count alike; data.behaviours says which are asked for")
    arrivals = Arrivals(data, file=path.name, dropped=dropped, folder=work, memory=memory)
    for rows in readers.batches(path, table, columns, rows=PIECE):
        arrivals.take(rows)
    if named.items is None:
        return Stock(named, arrivals, None)
    path, table = named.items
    wanted = {**table.columns, **{flag: flag for flags in table.flags.values() for flag in flags}}
    about = described(readers.read(path, table, wanted), table, file=path.name, dropped=dropped)
    return Stock(named, arrivals, about)


def _of_manifest(data: Data, here: Path) -> Named:
    assert data.dataset is not None
    if data.columns or data.items is not None:
        raise DataFault("data.columns and data.items go with data.path; a dataset's manifest has its own.")
    manifest, folder = find_manifest(data.dataset, here)
    stored = sources.get(manifest, folder)
    source = stored.source
    items = (stored.items, source.items) if stored.items is not None and source.items is not None else None
    return Named(manifest.name, stored.origin, manifest.ties, (stored.interactions, source.interactions), items)


def _of_ones_own(data: Data, here: Path) -> Named:
    """`user` and `item` must be in the file, `time` and `rating` may be, under these names or those of `columns`.

    Text fields are those that `columns` maps, and those that `data.text` asks for if the file has them.
    """
    assert data.path is not None
    path, table = _told(data, data.path, here)
    found = readers.header(path, table)
    told = [BEHAVIOUR] if data.behaviours is not None else []
    columns = {
        USER: USER,
        ITEM: ITEM,
        **{name: name for name in (TIME, RATING, *told) if name in found},
        **data.columns,
    }
    items = None
    if data.items is None:
        asked = [name for name in placeholders(data.text) if name in found and name not in RESERVED]
        columns = {**{name: name for name in asked}, **columns}
    else:
        beside, of_items = _told(data.items, data.items.path, here)
        items = (beside, of_items.model_copy(update={"columns": {ITEM: ITEM, **data.items.columns}}))
    return Named(path.name, str(path), TIES, (path, table.model_copy(update={"columns": columns})), items)


def _told(reading: Reading, path: str | list[str], here: Path) -> tuple[Path, Table]:
    """Where the file or files are, and all that the recipe says of how they read."""
    how = reading.model_dump(include=set(Reading.model_fields))
    if isinstance(path, list):
        files = [str(Path(one).expanduser()) for one in path]
        return here, Table(file=" + ".join(Path(one).name for one in files), files=files, **how)
    found = here / Path(path).expanduser()
    return found, Table(file=found.name, **how)
