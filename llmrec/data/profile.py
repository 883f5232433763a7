"""A look at somebody's file: what its columns hold, which is which, and how a recipe would name them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from llmrec.columns import ITEM, TIME, USER
from llmrec.data import readers
from llmrec.data.interactions import NO_VALUE, RATING, times
from llmrec.data.manifest import Table
from llmrec.data.sources import has_header
from llmrec.errors import DataFault
from llmrec.files import digest

# Names that people give, most telling first; `user_id`, `userId` and `User` read the same.
SIGNS = {
    USER: ("user", "userid", "customer", "customerid", "reviewer", "reviewerid", "member", "visitor", "visitorid",
           "uid", "reader", "account", "session", "sessionid"),
    ITEM: ("item", "itemid", "parentasin", "asin", "movieid", "movie", "productid", "product", "sku", "articleid",
           "bookid", "book", "isbn", "trackid", "track", "songid", "song", "iid"),
    TIME: ("timestamp", "time", "datetime", "date", "ts", "unixreviewtime", "createdat", "created", "moment"),
    RATING: ("rating", "stars", "score", "overall"),
    "title": ("title", "movietitle", "itemname", "productname", "name"),
    "year": ("year", "releaseyear"),
    "genres": ("genres", "genre", "categories", "category"),
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column: how full, how many distinct values, an example, what it seems to be."""

    name: str
    filled: float
    distinct: int
    example: str
    role: str | None


@dataclass(frozen=True)
class Profile:
    """A file's columns, its rows, and what could not be read."""

    path: Path
    rows: int
    unreadable: int
    columns: list[Column]

    @property
    def roles(self) -> dict[str, str]:
        """Our name -> the file's name, where a column told."""
        return {column.role: column.name for column in self.columns if column.role is not None}

    def section(self) -> str:
        """The `data` section of a recipe for this file, as YAML."""
        text = "{title} ({year})" if {"title", "year"} <= self.roles.keys() else "{title}"
        content = {"path": str(self.path), "columns": self.roles, "text": text if "title" in self.roles else "{key}"}
        return _yaml({"data": content}) + self._open_questions()

    def manifest(self) -> str:
        """A manifest for this file, as YAML; what only its owner knows is left to fill in."""
        content = {
            "name": "".join(c if c.isalnum() else "-" for c in self.path.name.split(".")[0].lower()).strip("-")
            or "mine",
            "title": self.path.name,
            "about": f"{self.rows:,} rows.",
            "licence": "not stated",
            "citation": "none",
            "text": "{title}" if "title" in self.roles else "{key}",
            "rows": self.rows,
            "rows_sha256": digest(self.path, skip_header=has_header(Table(file=self.path.name))),
            "sources": [
                {
                    "files": [{"path": str(self.path.resolve())}],
                    "interactions": {"file": self.path.name, "columns": self.roles},
                }
            ],
        }
        return _yaml(content) + self._open_questions()

    def _open_questions(self) -> str:
        missing = [role for role in (USER, ITEM, TIME) if role not in self.roles]
        return f"# Not recognised: {', '.join(missing)}. Name the column under `columns`.\n" if missing else ""


def profile(path: Path) -> Profile:
    """Reads a file and says what it holds; DataFault where it cannot be read at all."""
    table = Table(file=path.name)
    names = [name for name in dict.fromkeys(readers.header(path, table)) if name]
    rows = readers.read(path, table, {f"c{at}": name for at, name in enumerate(names)})
    roles = _roles(names, rows.table)
    columns = []
    for at, name in enumerate(names):
        text = rows.table[f"c{at}"].cast(pl.String, strict=False)
        given = text.filter(text.is_not_null() & ~text.str.to_lowercase().is_in(NO_VALUE))
        example = " ".join(given[0].split())[:40] if len(given) else ""
        columns.append(Column(name, len(given) / max(1, len(text)), given.n_unique(), example, roles.get(name)))
    return Profile(path, rows.table.height + rows.bad.height, rows.bad.height, columns)


def _roles(names: list[str], table: pl.DataFrame) -> dict[str, str]:
    """The file's name -> our role: by name, and for times only where they can be read."""
    plain = {name: "".join(c for c in name.lower() if c.isalnum()) for name in names}
    roles: dict[str, str] = {}
    for role, signs in SIGNS.items():
        fits = sorted((signs.index(p), at) for at, name in enumerate(names) if (p := plain[name]) in signs)
        for _, at in fits:
            if names[at] not in roles and (role != TIME or _tells_time(table[f"c{at}"])):
                roles[names[at]] = role
                break
    return roles


def _tells_time(column: pl.Series) -> bool:
    try:
        return times(column, where="profile").null_count() < len(column)
    except DataFault:
        return False


def _yaml(content: dict[str, Any]) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None))
