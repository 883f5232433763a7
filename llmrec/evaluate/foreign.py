"""What the audit can know of a comparison that no run of ours made: rankings, queries, and whatever else there is.

    candidates   query (or user), items: Parquet and JSON lines, items in slot order; or query (or user), item, a row
                 each: CSV, TSV, Parquet, in slot order or with a column slot. A column source says who supplied each
                 candidate: `target`, `uniform`, or the supplier's name; without it the target is known by its id
    training     user, item and perhaps time: what models were fitted on (CSV, TSV, Parquet, JSON lines, RecBole's)
    items        item, title: the whole catalogue (the same formats)

A CSV of queries may have a column time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.columns import ITEM, ITEMS, KEY, POSITION, QUERY, SOURCE, TARGET, TEXT, TIME, USER
from llmrec.data import readers
from llmrec.data.interactions import key, times
from llmrec.data.larder import Larder
from llmrec.data.manifest import Table
from llmrec.errors import RankingFault
from llmrec.evaluate.asked import Asked, check_plain, prepared, read_parquet, read_queries, read_separated
from llmrec.evaluate.case import BEFORE, UNKNOWN, Case, parts_of
from llmrec.evaluate.checks import check_candidates, check_rankings
from llmrec.evaluate.external import read_named
from llmrec.ranking import checked_queries

SLOT, TITLE = "slot", "title"
LISTS, OFFERED = "rankings", "candidates"
"""What the table of rankings is called, without candidate sets and with them."""


def read_case(
    rankings: Sequence[Path],
    queries: Path,
    *,
    candidates: Path | None = None,
    keys: Path | None = None,
    training: Path | None = None,
    items: Path | None = None,
) -> Case:
    """Everything that these files say; parts that nobody gave are None.

    Raises RankingFault or DataFault for what cannot be read, joined or compared.
    """
    asked = read_queries(queries, keys=keys)
    home = keys or (queries if queries.is_dir() else None)
    parts: dict[str, Any] = _of_run(home, asked) if home is not None else {"others": _others(queries, asked)}
    if items is not None:
        asked, parts["items"] = _catalogue(items, asked)
    if training is not None:
        asked, told = _training(training, queries, asked)
        parts |= told
    offered = None
    if candidates is not None:
        asked, offered = _candidates(candidates, asked)
        check_candidates(offered, asked.queries, where=str(candidates), names=asked.called)
    seeds: dict[str, list[pl.DataFrame]] = {}
    if rankings:
        found, asked = read_named(rankings, asked)
        seeds = {ranker: [ranking] for ranker, ranking in found.items()}
        check_rankings(seeds, asked.queries, offered, where="audit", names=asked.called)
    table = LISTS if offered is None else OFFERED
    held = {table: offered} if offered is not None else {}
    return Case(**{"queries": asked.queries, "coded": asked.coded, **parts}, rankings={table: seeds}, candidates=held)


def _of_run(home: Path, asked: Asked) -> dict[str, Any]:
    """What the run whose ids are used knows of the queries."""
    larder = Larder.read(prepared(home))
    if not asked.queries[POSITION].null_count():
        return parts_of(larder, asked.queries)
    # Nobody knows at which moment of their histories these users are asked.
    parts = parts_of(larder, larder.queries.head(0))
    return {name: parts[name] for name in ("training", "items")}


def _others(path: Path, asked: Asked) -> pl.DataFrame | None:
    if path.suffix != ".parquet" or path.is_dir():
        return None
    return checked_queries(read_parquet(path), where=str(path)).join(asked.queries, on=QUERY, how="anti")


def _catalogue(path: Path, asked: Asked) -> tuple[Asked, pl.DataFrame]:
    found = _columns(path, (ITEM, TITLE))
    twice = found.filter(pl.col(ITEM).is_duplicated())
    if twice.height:
        raise RankingFault(
            f"{path}: {twice.height:,} rows give an item again, first {twice[ITEM][0]!r}. Give each item once."
        )
    asked = _named(asked, found[ITEM], path)
    lost = (
        asked.queries.height - asked.queries.filter(pl.col(TARGET).is_in(_codes(asked, found[ITEM]).implode())).height
    )
    if lost:
        raise RankingFault(f"{path}: lacks {lost:,} of the queries' targets. Give the whole catalogue.")
    titles = pl.DataFrame({ITEM: _codes(asked, found[ITEM]), KEY: found[ITEM], TEXT: found[TITLE]})
    return asked, titles


def _training(path: Path, queries: Path, asked: Asked) -> tuple[Asked, dict[str, Any]]:
    """training, met and clock, and the queries with their times where both files have times."""
    timed = TIME in readers.header(path, Table(file=path.name))
    found = _columns(path, (USER, ITEM, TIME) if timed else (USER, ITEM))
    asked = _named(asked, found[ITEM], path)
    people = asked.users if asked.users is not None else _numbers(asked.queries[USER].unique(), USER)
    users = found.select(USER).join(people, left_on=USER, right_on=KEY, how="left", maintain_order="left")
    codes = users.select(pl.coalesce(pl.col(f"{USER}_right"), -1 - pl.col(USER).rank("dense"))).to_series()
    if not int((codes >= 0).sum()):
        raise RankingFault(
            f"{path}: none of its users asks a query: its first user is {found[USER][0]!r}, theirs is "
            f"{people[KEY][0]!r}."
        )
    named = pl.DataFrame({USER: codes.cast(pl.Int32), ITEM: _codes(asked, found[ITEM])})
    moments = _moments(queries, asked)
    if timed:
        both = times(pl.concat([moments["told"].cast(pl.String), found[TIME].cast(pl.String)]), where=str(path))
        moments = moments.with_columns(both.head(moments.height).alias(TIME))
        asked = replace(asked, queries=_timed(asked.queries, moments))
    rows = named.with_columns(
        pl.lit(None, pl.Int32).alias(POSITION),
        (both.tail(found.height).alias(TIME) if timed else pl.lit(None, pl.Int64).alias(TIME)),
    )
    joined = asked.queries.select(QUERY, USER, pl.col(TIME).alias("now")).join(rows, on=USER)
    earlier = joined.filter((pl.col(TIME) <= pl.col("now")).fill_null(True))
    before = earlier.group_by(QUERY).agg(pl.col("now").first().alias(TIME), pl.col(TIME).max().alias(BEFORE))
    return asked, {
        "queries": asked.queries,
        "training": rows,
        "met": earlier.filter((pl.col(TIME) < pl.col("now")).fill_null(True)).select(QUERY, ITEM),
        "clock": before.drop_nulls(),
    }


def _moments(queries: Path, asked: Asked) -> pl.DataFrame:
    """query, told: what a file says of when each query was asked."""
    if asked.coded:
        return asked.queries.select(QUERY, pl.col(TIME).alias("told"))
    table = read_separated(queries)
    told = pl.col(TIME) if TIME in table.columns else pl.lit(None, pl.String)
    return table.select(pl.col(QUERY).str.strip_chars().alias(KEY), told.alias("told")).join(asked.names, on=KEY)


def _timed(queries: pl.DataFrame, moments: pl.DataFrame) -> pl.DataFrame:
    kept = moments.unique(QUERY, keep="first").select(QUERY, TIME)
    return queries.drop(TIME).join(kept, on=QUERY, how="left", maintain_order="left").select(queries.columns)


def _candidates(path: Path, asked: Asked) -> tuple[Asked, pl.DataFrame]:
    """query, items in slot order, source."""
    table = _offers(path)
    by = QUERY if QUERY in table.columns else USER
    asks = asked.askers(by, where=path).rename({QUERY: "code"})
    joined = table.with_columns(pl.col(by).cast(pl.String).str.strip_chars())
    joined = joined.join(asks, left_on=by, right_on=KEY, maintain_order="left")
    if not joined.height:
        raise RankingFault(
            f"{path}: none of the {asked.queries.height:,} queries has candidates: its first {by} is {table[by][0]!r}, "
            f"theirs is {asks[KEY][0]!r}."
        )
    asked = _named(asked, joined[ITEM], path)
    rows = joined.with_columns(_codes(asked, joined[ITEM]).alias(ITEM))
    if SLOT in rows.columns:
        rows = rows.sort("code", pl.col(SLOT).cast(pl.Float64, strict=False), maintain_order=True)
    targets = asked.queries.select(pl.col(QUERY).alias("code"), TARGET)
    right = pl.col(ITEM) == pl.col(TARGET)
    rows = rows.join(targets, on="code", maintain_order="left")
    if SOURCE not in rows.columns:
        every = rows.filter(right)["code"].n_unique() == rows["code"].n_unique()
        rows = rows.with_columns(pl.when(right & every).then(pl.lit("target")).otherwise(pl.lit(UNKNOWN)).alias(SOURCE))
    sets = rows.group_by(pl.col("code").alias(QUERY), maintain_order=True).agg(
        pl.col(ITEM).alias(ITEMS), pl.col(SOURCE).cast(pl.String).fill_null(UNKNOWN)
    )
    return asked, sets


def _offers(path: Path) -> pl.DataFrame:
    """query or user, item, and slot and source where the file has them: one row a candidate."""
    if not path.is_file():
        raise RankingFault(f"{path}: no such file. Give candidates as Parquet, JSON lines, CSV or TSV.")
    if path.suffix in {".jsonl", ".ndjson", ".json"}:
        try:
            table = pl.read_ndjson(path)
        except (OSError, pl.exceptions.PolarsError) as fault:
            raise RankingFault(f"{path}: cannot be read as JSON lines ({str(fault).splitlines()[0]}).") from None
    else:
        table = read_parquet(path) if path.suffix == ".parquet" else read_separated(path)
    lists = [column for column in (ITEMS, SOURCE) if isinstance(table.schema.get(column), pl.List)]
    if ITEMS in lists:
        torn = table.filter(
            pl.any_horizontal(pl.col(column).list.len() != pl.col(ITEMS).list.len() for column in lists)
        )
        if torn.height:
            raise RankingFault(f"{path}: {torn.height:,} rows have more sources than items, or fewer.")
        table = table.drop(ITEM, strict=False).explode(lists).rename({ITEMS: ITEM})
    if not {QUERY, USER} & set(table.columns) or ITEM not in table.columns:
        raise RankingFault(
            f"{path}: needs columns query or user, and items (a list) or item (a row each); found "
            f"{', '.join(table.columns)}."
        )
    check_plain(table, (QUERY, USER, ITEM, SLOT, SOURCE), where=path)
    table = table.with_columns(key(table[ITEM]).alias(ITEM))
    if not table.height or table[ITEM].null_count():
        raise RankingFault(
            f"{path}: {table[ITEM].null_count():,} candidates have no item."
            if table.height
            else f"{path}: offers nothing."
        )
    return table


def _columns(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    """Columns of a file of any format that datasets come in, ids as text; rows without one of the ids are refused."""
    table = Table(file=path.name)
    rows = readers.read(path, table, {column: column for column in columns})
    found = rows.table.with_columns(
        key(rows.table[column]).alias(column) for column in columns if column in (USER, ITEM)
    )
    empty = found.filter(pl.any_horizontal(pl.col(column).is_null() for column in columns if column != TIME))
    bad = rows.bad.height + empty.height
    if bad:
        raise RankingFault(
            f"{path}: {bad:,} rows lack {' or '.join(columns)}, or cannot be read. Repair or remove them."
        )
    return found.with_columns(pl.col(TITLE).cast(pl.String)) if TITLE in columns else found


def _named(asked: Asked, names: pl.Series, path: Path) -> Asked:
    """Codes for names that have none yet: below 0 for what the run's catalogue lacks, else the next ones."""
    if asked.items is None:
        if names.cast(pl.Int32, strict=False).null_count():
            odd = names.filter(names.cast(pl.Int32, strict=False).is_null())
            raise RankingFault(
                f"{path}: {len(odd):,} items are no codes, first {odd[0]!r}, and the queries speak in codes. Say whose "
                "ids they are with --keys RUN."
            )
        return asked
    new = pl.DataFrame({KEY: names.unique(maintain_order=True)}).join(
        asked.items, on=KEY, how="anti", maintain_order="left"
    )
    lowest, highest = int(asked.items[ITEM].min() or 0), int(asked.items[ITEM].max() or 0)  # type: ignore[arg-type]
    codes = pl.int_range(1, new.height + 1, dtype=pl.Int32, eager=True)
    coded = min(lowest, 0) - codes if asked.keyed else highest + codes
    return replace(asked, items=pl.concat([asked.items.select(ITEM, KEY), new.select(coded.alias(ITEM), KEY)]))


def _codes(asked: Asked, names: pl.Series) -> pl.Series:
    if asked.items is None:
        return names.cast(pl.Int32)
    known = asked.items.select(KEY, pl.col(ITEM).alias("code"))
    return pl.DataFrame({KEY: names}).join(known, on=KEY, how="left", maintain_order="left")["code"]


def _numbers(codes: pl.Series, code: str) -> pl.DataFrame:
    return pl.DataFrame({code: codes, KEY: codes.cast(pl.String)})
