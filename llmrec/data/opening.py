"""Opens what a recipe's `data` section names: a dataset by its manifest, or a file of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrec import resources
from llmrec.columns import ITEM, KEY, TIME, USER
from llmrec.data import readers, sources
from llmrec.data.catalogue import RESERVED, Described, described, from_interactions
from llmrec.data.dropped import Dropped
from llmrec.data.interactions import RATING, interactions
from llmrec.data.manifest import Manifest, Table, read_manifest
from llmrec.errors import DataFault, UserError
from llmrec.recipe.sections import Data

TIES = "Interactions of a user at the same time keep the file's order."
OURS = (USER, ITEM, TIME, RATING)


@dataclass(frozen=True)
class Stock:
    """Interactions that can be used, and what is known of the items."""

    name: str
    file: str
    origin: str
    ties: str
    read: int
    interactions: pl.DataFrame
    items: Described


def find_manifest(name_or_path: str, here: Path | None = None) -> tuple[Manifest, Path]:
    """A manifest by shipped name or by path, and the folder that it lies in."""
    try:
        path = resources.find("data", name_or_path, here=here)
    except DataFault:
        raise
    except UserError as fault:
        raise DataFault(str(fault)) from None
    return read_manifest(path), path.resolve().parent


def opened(data: Data, *, here: Path, dropped: Dropped) -> Stock:
    """The interactions and items that `data` names; unusable rows go to `dropped`."""
    if data.dataset is not None:
        if data.columns or data.items is not None:
            raise DataFault("data.columns and data.items go with data.path; a dataset's manifest has its own.")
        manifest, folder = find_manifest(data.dataset, here)
        stored = sources.get(manifest, folder)
        table, items = stored.source.interactions, stored.source.items
        return _stock(
            data, manifest.name, stored.origin, manifest.ties, stored.interactions, table, stored.items, items, dropped
        )
    assert data.path is not None
    path = here / Path(data.path).expanduser()
    table = own(path, Table(file=path.name, columns=data.columns), data.columns)
    if data.items is None:
        return _stock(data, path.name, str(path), TIES, path, table, None, None, dropped)
    beside = here / Path(data.items.path).expanduser()
    items = Table(file=beside.name, columns=data.items.columns)
    return _stock(data, path.name, str(path), TIES, path, table, beside, items, dropped)


def own(path: Path, table: Table, asked: dict[str, str]) -> Table:
    """The table with its columns settled: those asked for, and ours that the file has under our own names.

    `user` and `item` must be there; `time` and `rating` may. Without any mapping, other columns are item text.
    """
    found = readers.header(path, table)
    columns = dict(asked)
    for name in OURS:
        if name not in columns and (name in found or name in (USER, ITEM)):
            columns[name] = name
    if not asked:
        columns.update({name: name for name in found if name not in columns and name not in RESERVED})
    return table.model_copy(update={"columns": columns})


def _stock(
    data: Data,
    name: str,
    origin: str,
    ties: str,
    path: Path,
    table: Table,
    items_path: Path | None,
    items: Table | None,
    dropped: Dropped,
) -> Stock:
    rows = readers.read(path, table, table.columns)
    usable = interactions(rows, file=path.name, min_rating=data.min_rating, dropped=dropped)
    if items_path is not None and items is not None:
        if ITEM not in items.columns:
            raise DataFault(
                f"{items_path.name}: which column is the item? Say so with data.items.columns: {{item: ...}}."
            )
        wanted = {**items.columns, **{flag: flag for flags in items.flags.values() for flag in flags}}
        about = described(readers.read(items_path, items, wanted), items, file=items_path.name, dropped=dropped)
        usable = usable.select(readers.LINE, USER, ITEM, TIME)
    else:
        about = from_interactions(usable)
    assert KEY in about.table.columns
    return Stock(name, path.name, origin, ties, rows.table.height + rows.bad.height, usable, about)
