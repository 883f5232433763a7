"""A look at somebody's file: what its columns hold, which is which, what it comes to, how a recipe would name it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from llmrec.columns import ITEM, TIME, USER
from llmrec.data import readers, remote
from llmrec.data.census import Census, Count, counting
from llmrec.data.interactions import NO_VALUE, RATING, times
from llmrec.data.keys import is_plain
from llmrec.data.manifest import Table
from llmrec.data.sources import has_header
from llmrec.errors import DataFault
from llmrec.files import digest
from llmrec.progress import track
from llmrec.recipe.sections import Reading

ROWS = 250_000  # at a time: all columns are looked at, also long texts
TOLD_APART = 1_000_000  # different values of a column that are counted exactly
BEHAVIOUR = "behaviour"
# Names that people give, most telling first; `user_id`, `userId` and `User` read the same.
SIGNS = {
    USER: ("user", "userid", "customer", "customerid", "reviewer", "reviewerid", "member", "visitor", "visitorid",
           "uid", "reader", "account", "username", "session", "sessionid"),
    ITEM: ("item", "itemid", "parentasin", "asin", "movieid", "movie", "productid", "product", "sku", "articleid",
           "bookid", "book", "isbn", "businessid", "artistid", "trackid", "track", "songid", "song", "iid"),
    TIME: ("timestamp", "time", "datetime", "date", "ts", "unixreviewtime", "createdat", "created", "moment"),
    RATING: ("rating", "stars", "score", "overall"),
    "title": ("title", "movietitle", "itemname", "productname", "name"),
    "year": ("year", "releaseyear"),
    "genres": ("genres", "genre", "categories", "category"),
    BEHAVIOUR: ("behaviour", "behavior", "behaviortype", "event", "eventtype", "action", "actiontype", "type"),
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column: how full, distinct values (`TOLD_APART` stands for more), an example, what it seems to be."""

    name: str
    filled: float
    distinct: int
    example: str
    role: str | None


@dataclass(frozen=True)
class Profile:
    """A file's columns, its rows, what could not be read, and what its interactions come to."""

    path: Path
    rows: int
    unreadable: int
    columns: list[Column]
    census: Census | None = None
    """None where users and items were not recognised."""
    given: str = ""
    """The file as the user called it."""
    reading: Reading = field(default_factory=Reading)

    @property
    def roles(self) -> dict[str, str]:
        """Our name -> the file's name, where a column told. Which behaviour counts is not ours to say."""
        return {c.role: c.name for c in self.columns if c.role is not None and c.role != BEHAVIOUR}

    def section(self) -> str:
        """The `data` section of a recipe for this file, as YAML."""
        text = "{title} ({year})" if {"title", "year"} <= self.roles.keys() else "{title}"
        told = {"path": self.given or str(self.path), **self._reading(), "columns": self.roles}
        return _yaml({"data": {**told, "text": text if "title" in self.roles else "{key}"}}) + self._open_questions()

    def manifest(self) -> str:
        """A manifest for this file, as YAML; what only its owner knows is left to fill in.

        Raises DataFault where it is not one file of this machine: a recipe's `data` section names those.
        """
        if not self.path.is_file() or remote.is_address(self.given):
            raise DataFault(f"{self.given or self.path}: a manifest names single files; use the `data` section.")
        table = Table(file=self.path.name, **self.reading.model_dump())
        content: dict[str, Any] = {
            "name": "".join(c if c.isalnum() else "-" for c in self.path.name.split(".")[0].lower()).strip("-")
            or "mine",
            "title": self.path.name,
            "about": f"{self.rows:,} rows.",
            "licence": "not stated",
            "citation": "none",
            "text": "{title}" if "title" in self.roles else "{key}",
            "rows": self.rows,
            "rows_sha256": digest(self.path, skip_header=has_header(table)),
            "sources": [
                {
                    "files": [{"path": str(self.path.resolve())}],
                    "interactions": {"file": self.path.name, **self._reading(), "columns": self.roles},
                }
            ],
        }
        return _yaml(content) + self._open_questions()

    def _reading(self) -> dict[str, Any]:
        return self.reading.model_dump(exclude_defaults=True)

    def _open_questions(self) -> str:
        missing = [role for role in (USER, ITEM, TIME) if role not in self.roles]
        told = f"# Not recognised: {', '.join(missing)}. Name the column under `columns`.\n" if missing else ""
        acts = next((c for c in self.columns if c.role == BEHAVIOUR), None)
        return told + (f"# {acts.name} looks like one of behaviours ({acts.distinct:,} of them).\n" if acts else "")


def profile(path: Path | str, reading: Reading | None = None) -> Profile:
    """Reads a file, folder, pattern or address once and says what it holds; DataFault where it cannot be read at all.

    Memory is that of `ROWS` rows, one entry an item, and at most a sixteenth of the users' interactions.
    """
    reading = reading or Reading()
    lying = remote.local(str(path)) if remote.is_address(str(path)) else Path(path)
    table = Table(file=lying.name, **reading.model_dump())
    names = [name for name in dict.fromkeys(readers.header(lying, table)) if name]
    asked = {f"c{at}": name for at, name in enumerate(names)}
    looks = [_Look(name) for name in names]
    roles: dict[str, str] | None = None
    rows = unreadable = 0
    with counting() as folder:
        count = Count(Path(folder))
        pieces = readers.batches(lying, table, asked, rows=ROWS)
        for piece in track(pieces, f"profile: {lying.name}, pieces of {ROWS:,} rows"):
            roles = _roles(names, piece.table, reading.time_format) if roles is None else roles
            rows, unreadable = rows + piece.table.height + piece.bad.height, unreadable + piece.bad.height
            for at, look in enumerate(looks):
                look.add(piece.table[f"c{at}"])
            ours = {role: piece.table[f"c{names.index(name)}"] for name, role in roles.items()}
            if {USER, ITEM} <= ours.keys():
                if TIME in ours:
                    ours[TIME] = _moments(ours[TIME], reading.time_format)
                count.add(pl.DataFrame(ours), BEHAVIOUR if BEHAVIOUR in ours else None)
        census = count.done() if count.held or count.dealt else None
    columns = [look.column((roles or {}).get(look.name)) for look in looks]
    return Profile(lying, rows, unreadable, columns, census, str(path), reading)


class _Look:
    """What is seen of a column, piece by piece."""

    def __init__(self, name: str) -> None:
        self.name, self.filled, self.rows, self.example = name, 0, 0, ""
        self.seen = pl.Series(dtype=pl.UInt64)

    def add(self, column: pl.Series) -> None:
        text = _text(column)
        given = text.filter(text.is_not_null() & ~text.str.to_lowercase().is_in(NO_VALUE))
        self.rows, self.filled = self.rows + len(text), self.filled + len(given)
        self.example = self.example or (" ".join(given[0].split())[:40] if len(given) else "")
        if len(self.seen) < TOLD_APART:
            self.seen = pl.concat([self.seen, given.hash(seed=7).unique()]).unique().head(TOLD_APART)

    def column(self, role: str | None) -> Column:
        return Column(self.name, self.filled / max(1, self.rows), len(self.seen), self.example, role)


def _text(column: pl.Series) -> pl.Series:
    if not is_plain(column.dtype):
        return pl.Series([None if value is None else str(value) for value in column.to_list()], dtype=pl.String)
    return column.cast(pl.String, strict=False)


def _roles(names: list[str], table: pl.DataFrame, form: str | None) -> dict[str, str]:
    """The file's name -> our role: by name, and for times only where they can be read."""
    plain = {name: "".join(c for c in name.lower() if c.isalnum()) for name in names}
    roles: dict[str, str] = {}
    for role, signs in SIGNS.items():
        fits = sorted((signs.index(p), at) for at, name in enumerate(names) if (p := plain[name]) in signs)
        for _, at in fits:
            column = table[f"c{at}"]
            if (
                names[at] in roles
                or not is_plain(column.dtype)
                or (role == TIME and not _moments(column, form).is_not_null().any())
            ):
                continue
            if role == BEHAVIOUR and not 2 <= _text(column).drop_nulls().n_unique() <= 30:
                continue
            roles[names[at]] = role
            break
    return roles


def _moments(column: pl.Series, form: str | None) -> pl.Series:
    """Whole numbers that order the moments, null where one cannot be read, all of them where none can."""
    try:
        return times(column, where="profile") if form is None else readers.dated(column, form)
    except DataFault:
        return pl.Series([None] * len(column), dtype=pl.Int64)


def _yaml(content: dict[str, Any]) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None))
