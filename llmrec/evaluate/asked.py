"""The queries that anybody's rankings answer, and how their owner calls users and items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrec.columns import FOLD, ITEM, KEY, QUERY, TARGET, USER
from llmrec.errors import RankingFault
from llmrec.evaluate.checks import Names
from llmrec.ranking import QUERIES_SCHEMA, checked_queries


@dataclass(frozen=True)
class Asked:
    """Queries of one fold, with the names that files may use for what they hold."""

    queries: pl.DataFrame
    """One row a query; of several targets it has the first."""
    names: pl.DataFrame
    """key: what a file calls a query; query."""
    users: pl.DataFrame | None
    """user, key; None where files speak in codes."""
    items: pl.DataFrame | None
    """item, key; None where files speak in codes."""
    coded: bool
    """Whether query numbers are those of a run, as in its rankings; else they are rows of a CSV."""
    keyed: bool
    """Whether item codes are those of a run, as in its rankings."""
    targets: pl.DataFrame | None = None
    """query, target: every target, where some query has several."""
    strangers: pl.DataFrame | None = None
    """item (below 0), key: what rankings list and no catalogue knows."""

    @property
    def called(self) -> Names:
        """What files call queries, users and items."""
        items = [table.select(ITEM, KEY) for table in (self.items, self.strangers) if table is not None]
        tables = {QUERY: self.names, USER: self.users, ITEM: pl.concat(items) if items else None}
        return Names({column: table for column, table in tables.items() if table is not None})

    def askers(self, by: str, *, where: Path) -> pl.DataFrame:
        """key, query: how a file that goes by `query` or by `user` calls the queries."""
        if by == QUERY:
            return self.names
        several = self.queries.filter(pl.col(USER).is_duplicated())
        if several.height:
            who = self.called.first(several, USER)
            raise RankingFault(
                f"{where}: goes by user, and user {who} asks several queries. Use a column query instead."
            )
        if self.users is None:
            return self.queries.select(pl.col(USER).cast(pl.String).alias(KEY), QUERY)
        return self.queries.join(self.users, on=USER).select(KEY, QUERY)


def read_queries(path: Path, *, keys: Path | None = None, fold: str = "test") -> Asked:
    """Queries from a run folder, a queries.parquet, or a CSV or TSV with query, user and target.

    A query with several targets has a row for each.

    A run folder brings its owner's ids; a queries.parquet takes them from `keys`, another run folder, or speaks in
    codes. In a CSV all three are names: users and targets as `keys` has them if given, else whatever the rankings use
    too. Raises RankingFault for what cannot be read or joined.
    """
    home = prepared(keys) if keys else prepared(path) if path.is_dir() else None
    users = _names(home / "users.parquet", USER) if home else None
    items = _names(home / "catalogue.parquet", ITEM) if home else None
    if not path.is_dir() and path.suffix != ".parquet":
        return _named(path, users, items)
    file = prepared(path) / "queries.parquet" if path.is_dir() else path
    table = checked_queries(read_parquet(file), where=str(file), several=True)
    held = table.filter(pl.col(FOLD) == fold)
    if not held.height:
        raise RankingFault(f"{file}: no query is of fold {fold}; found {', '.join(table[FOLD].unique().sort())}.")
    queries, targets = _sets(held)
    names = queries.select(pl.col(QUERY).cast(pl.String).alias(KEY), QUERY)
    return Asked(queries, names, users, items, coded=True, keyed=True, targets=targets)


def prepared(run: Path) -> Path:
    """Where a run folder keeps its queries; the prepare/ folder itself will do."""
    for folder in (run / "prepare", run):
        if (folder / "queries.parquet").is_file():
            return folder
    raise RankingFault(f"{run}: has no prepare/queries.parquet. Give a run folder, a queries.parquet, or a CSV.")


def read_parquet(path: Path) -> pl.DataFrame:
    """A Parquet file, or RankingFault."""
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as fault:
        raise RankingFault(f"{path}: cannot be read as Parquet ({str(fault).splitlines()[0]}).") from None


def read_separated(path: Path) -> pl.DataFrame:
    """A CSV or TSV as text columns with lower-case names, or RankingFault."""
    try:
        table = pl.read_csv(path, separator="\t" if path.suffix == ".tsv" else ",", infer_schema=False)
    except (OSError, UnicodeError, pl.exceptions.PolarsError) as fault:
        kind = path.suffix.lstrip(".").upper() or "CSV"
        raise RankingFault(f"{path}: cannot be read as {kind} ({str(fault).splitlines()[0]}).") from None
    return lower_case(table, where=path)


def lower_case(table: pl.DataFrame, *, where: Path) -> pl.DataFrame:
    """The table with lower-case column names; RankingFault where two columns are then one."""
    names = [column.strip().lower() for column in table.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        same = ", ".join(repr(column) for column, name in zip(table.columns, names, strict=True) if name == twice)
        raise RankingFault(f"{where}: has {names.count(twice)} columns {twice}: {same}. Leave out what does not count.")
    return table.rename(dict(zip(table.columns, names, strict=True)))


def check_plain(table: pl.DataFrame, columns: Sequence[str], *, where: Path) -> None:
    """Raises RankingFault where one of the columns that are there holds lists or records instead of single values."""
    nested = next((column for column in columns if column in table.columns and table.schema[column].is_nested()), None)
    if nested is not None:
        raise RankingFault(
            f"{where}: column {nested} holds {table.schema[nested]} in {table.height:,} rows. Write one value a row."
        )


def _names(path: Path, code: str) -> pl.DataFrame:
    return read_parquet(path).select(code, pl.col(KEY).cast(pl.String))


def _named(path: Path, users: pl.DataFrame | None, items: pl.DataFrame | None) -> Asked:
    """A CSV of queries; names become codes, in the order of the file where no owner's keys are given."""
    keyed = items is not None
    table = read_separated(path)
    missing = [column for column in (QUERY, USER, TARGET) if column not in table.columns]
    if missing:
        raise RankingFault(f"{path}: column {', '.join(missing)} missing; found {', '.join(table.columns)}.")
    if FOLD in table.columns:
        table = table.filter(pl.col(FOLD) == "test")
    table = table.select(pl.col(QUERY, USER, TARGET).str.strip_chars())
    if not table.height or any(table.null_count().row(0)):
        raise RankingFault(f"{path}: every row needs a query, a user and a target, and there must be a row.")
    users = _codes(table[USER], USER) if users is None else users
    items = _codes(table[TARGET], ITEM) if items is None else items
    asked = _codes(table[QUERY], QUERY)
    coded = (
        table.join(asked.rename({QUERY: "query_code"}), left_on=QUERY, right_on=KEY, how="left", maintain_order="left")
        .join(users.rename({USER: "user_code"}), left_on=USER, right_on=KEY, how="left", maintain_order="left")
        .join(items.rename({ITEM: "item_code"}), left_on=TARGET, right_on=KEY, how="left", maintain_order="left")
    )
    for code, column in (("user_code", USER), ("item_code", TARGET)):
        unknown = coded.filter(pl.col(code).is_null())
        if unknown.height:
            raise RankingFault(f"{path}: {column} {unknown[column][0]!r} is not one of the run's.")
    torn = coded.filter(pl.col(USER).n_unique().over(QUERY) > 1)
    if torn.height:
        raise RankingFault(f"{path}: query {torn[QUERY][0]!r} is of more than one user; a query is one user's.")
    again = coded.filter(pl.struct("query_code", "item_code").is_duplicated())
    if again.height:
        raise RankingFault(f"{path}: query {again[QUERY][0]!r} has target {again[TARGET][0]!r} more than once.")
    codes = {QUERY: coded["query_code"], USER: coded["user_code"], TARGET: coded["item_code"]}
    rows = pl.DataFrame({**codes, FOLD: ["test"] * coded.height})
    table = checked_queries(rows, where=str(path), several=True)
    queries, targets = _sets(table.select(*QUERIES_SCHEMA))
    return Asked(queries, asked.select(KEY, QUERY), users, items, coded=False, keyed=keyed, targets=targets)


def _sets(table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """One row a query, and every target where some query has several."""
    queries = table.unique(QUERY, keep="first", maintain_order=True)
    return queries, table.select(QUERY, TARGET) if table.height > queries.height else None


def _codes(names: pl.Series, code: str) -> pl.DataFrame:
    keys = names.unique(maintain_order=True)
    return pl.DataFrame({code: range(len(keys)), KEY: keys}, schema_overrides={code: pl.Int32})
