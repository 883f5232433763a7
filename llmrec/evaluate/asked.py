"""The queries that anybody's rankings answer, and how their owner calls users and items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrec.columns import FOLD, ITEM, KEY, QUERY, TARGET, USER
from llmrec.errors import RankingFault
from llmrec.ranking import QUERIES_SCHEMA, checked_queries


@dataclass(frozen=True)
class Asked:
    """Queries of one fold, with the names that files may use for what they hold."""

    queries: pl.DataFrame
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

    def askers(self, by: str, *, where: Path) -> pl.DataFrame:
        """key, query: how a file that goes by `query` or by `user` calls the queries."""
        if by == QUERY:
            return self.names
        several = self.queries.filter(pl.col(USER).is_duplicated())
        if several.height:
            raise RankingFault(
                f"{where}: goes by user, and user {several[USER][0]} asks several queries. Use a column query instead."
            )
        if self.users is None:
            return self.queries.select(pl.col(USER).cast(pl.String).alias(KEY), QUERY)
        return self.queries.join(self.users, on=USER).select(KEY, QUERY)


def read_queries(path: Path, *, keys: Path | None = None, fold: str = "test") -> Asked:
    """Queries from a run folder, a queries.parquet, or a CSV or TSV with query, user and target.

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
    queries = checked_queries(read_parquet(file), where=str(file))
    held = queries.filter(pl.col(FOLD) == fold)
    if not held.height:
        raise RankingFault(f"{file}: no query is of fold {fold}; found {', '.join(queries[FOLD].unique().sort())}.")
    names = held.select(pl.col(QUERY).cast(pl.String).alias(KEY), QUERY)
    return Asked(held, names, users, items, coded=True, keyed=True)


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
    return table.rename({column: column.strip().lower() for column in table.columns})


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
    twice = table.filter(pl.col(QUERY).is_duplicated())
    if twice.height:
        raise RankingFault(f"{path}: query {twice[QUERY][0]!r} stands more than once; a query is asked once.")
    users = _codes(table[USER], USER) if users is None else users
    items = _codes(table[TARGET], ITEM) if items is None else items
    coded = (
        table.with_row_index("row")
        .join(users.rename({USER: "user_code"}), left_on=USER, right_on=KEY, how="left", maintain_order="left")
        .join(items.rename({ITEM: "item_code"}), left_on=TARGET, right_on=KEY, how="left", maintain_order="left")
    )
    for code, column in (("user_code", USER), ("item_code", TARGET)):
        unknown = coded.filter(pl.col(code).is_null())
        if unknown.height:
            raise RankingFault(f"{path}: {column} {unknown[column][0]!r} is not one of the run's.")
    names = coded.select(pl.col(QUERY).alias(KEY), pl.col("row").cast(pl.Int64).alias(QUERY))
    queries = pl.DataFrame(
        {QUERY: names[QUERY], USER: coded["user_code"], TARGET: coded["item_code"], FOLD: ["test"] * coded.height}
    )
    checked = checked_queries(queries, where=str(path)).select(*QUERIES_SCHEMA)
    return Asked(checked, names, users, items, coded=False, keyed=keyed)


def _codes(names: pl.Series, code: str) -> pl.DataFrame:
    keys = names.unique(maintain_order=True)
    return pl.DataFrame({code: range(len(keys)), KEY: keys}, schema_overrides={code: pl.Int32})
