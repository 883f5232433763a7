"""Anybody's rankings as ours: Parquet, CSV and TREC run files, joined by their owner's own ids.

    Parquet   of ours (query, item, rank, score, ranker: codes), or any with the columns of a CSV
    CSV, TSV  user or query, item, score or rank, and perhaps ranker; users and items as their owner calls them
    TREC run  qid Q0 docid rank score tag, whitespace between (trec_eval's: the score decides, equal scores tie);
              the qid is a user where the run folder names users, else a query

An item that is not in the catalogue keeps its place in the list, under a code below 0 that no target has: left out,
everything below it would move up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.columns import ITEM, KEY, QUERY, RANK, RANKER, SCORE, TARGET, USER
from llmrec.errors import RankingFault
from llmrec.evaluate.asked import Asked, check_plain, lower_case, read_parquet, read_separated
from llmrec.progress import note
from llmrec.ranking import RANKING_SCHEMA, checked_ranking

TREC = ("qid", "q0", "docid", RANK, SCORE, "tag")
QID = "qid"
ASKER, NAMED = "asker", "named"  # what the file calls the query and the item
PLACE = "place"
FEW = 20


def read_rankings(paths: Sequence[Path], asked: Asked) -> dict[str, pl.DataFrame]:
    """The rankings of `read_named`."""
    return read_named(paths, asked)[0]


def read_named(paths: Sequence[Path], asked: Asked) -> tuple[dict[str, pl.DataFrame], Asked]:
    """ranker -> ranking, in codes, each query's items best first; and the names of items that nobody knew.

    Queries that were not asked are left out. A file may hold several rankers in a column `ranker` (the tag of a TREC
    run); without one the file's name names it. Where two files name their ranker alike, the folders above them tell
    them apart. Raises RankingFault for what cannot be read, joined or ordered.
    """
    found: list[tuple[str, Path, pl.DataFrame]] = []
    for path in paths:
        table = _read(path)
        if _is_ours(table) and asked.coded:
            kept = table.join(asked.queries.select(QUERY), on=QUERY, how="semi", maintain_order="left")
            if not kept.height:
                raise RankingFault(f"{path}: ranks none of the {asked.queries.height:,} queries.")
        else:
            kept = _placed(_queries_joined(table, asked, path), path)
        for (ranker,), part in kept.partition_by(RANKER, as_dict=True, maintain_order=True).items():
            found.append((str(ranker), path, part))
    coded, strangers = _items_coded(found, asked)
    names = _told_apart([(name, path) for name, path, _ in found])
    return dict(zip(names, coded, strict=True)), replace(asked, strangers=strangers)


def _read(path: Path) -> pl.DataFrame:
    """A file as a table with lower-case column names and a ranker."""
    if not path.is_file():
        raise RankingFault(f"{path}: no such file. Give rankings as Parquet, CSV or TREC run files.")
    if path.suffix == ".parquet":
        table = lower_case(read_parquet(path), where=path)
    elif path.suffix in {".csv", ".tsv"}:
        table = read_separated(path)
    else:
        table = _trec(path)
    if (
        not {QID, QUERY, USER} & set(table.columns)
        or ITEM not in table.columns
        or not {SCORE, RANK} & set(table.columns)
    ):
        raise RankingFault(
            f"{path}: needs columns user or query, item, and score or rank; found {', '.join(table.columns)}."
        )
    if not table.height:
        raise RankingFault(f"{path}: ranks nothing: it has columns and no row. Was its writer stopped?")
    check_plain(table, (QID, QUERY, USER, ITEM, SCORE, RANK, RANKER), where=path)
    if RANKER not in table.columns:
        return table.with_columns(pl.lit(path.stem).alias(RANKER))
    blank = table.filter(pl.col(RANKER).cast(pl.String).fill_null("").str.strip_chars() == "").height
    if blank:
        raise RankingFault(
            f"{path}: {blank:,} of {table.height:,} rows have an empty ranker. Name it in each row, or leave out the "
            "column: the file's name is its ranker's then."
        )
    return table


def _trec(path: Path) -> pl.DataFrame:
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeError:
        raise RankingFault(f"{path}: is neither Parquet, CSV nor text; a TREC run has six words a line.") from None
    wrong = next((number for number, row in enumerate(rows, start=1) if len(row) != len(TREC)), None)
    if wrong or not rows:
        found = f"line {wrong} has {len(rows[wrong - 1])}" if wrong else "it is empty"
        raise RankingFault(f"{path}: a TREC run has six words a line (qid Q0 docid rank score tag), and {found}.")
    # Its rank is for people to read; trec_eval orders by score.
    table = pl.DataFrame(rows, schema=list(TREC), orient="row")
    return table.select(QID, pl.col("docid").alias(ITEM), SCORE, pl.col("tag").alias(RANKER))


def _is_ours(table: pl.DataFrame) -> bool:
    """Whether a table has the columns of a ranking and speaks in codes."""
    if not set(RANKING_SCHEMA) <= set(table.columns):
        return False
    return table.schema[QUERY].is_integer() and table.schema[ITEM].is_integer()


def _queries_joined(table: pl.DataFrame, asked: Asked, path: Path) -> pl.DataFrame:
    """query (a code), asker and named (what the file says), rank and score where it has them, ranker."""
    ours = _is_ours(table)
    by = next(column for column in (QUERY, QID, USER) if column in table.columns)
    goes_by = by if by != QID else (USER if asked.coded and asked.users is not None else QUERY)
    names = pl.col(ITEM).cast(pl.String).str.strip_chars()
    if ours and asked.keyed and asked.items is not None:  # its item codes are the run's, whoever numbered the queries
        codes = asked.items.select(pl.col(ITEM).cast(table.schema[ITEM]), pl.col(KEY).alias(NAMED))
        table = table.join(codes, on=ITEM, how="left", maintain_order="left").with_columns(
            pl.col(NAMED).fill_null(names)
        )
    else:
        table = table.with_columns(names.alias(NAMED))
    table = table.with_columns(pl.col(by).cast(pl.String).str.strip_chars().alias(ASKER)).drop(QUERY, strict=False)
    empty = table.filter(pl.any_horizontal(pl.col(ASKER, NAMED).is_null()))
    if empty.height:
        raise RankingFault(f"{path}: {empty.height:,} rows have no {goes_by} or no item. Repair or remove them.")
    askers = asked.askers(goes_by, where=path)
    joined = table.join(askers, left_on=ASKER, right_on=KEY, how="inner", maintain_order="left")
    if not joined.height:
        raise RankingFault(
            f"{path}: ranks none of the {asked.queries.height:,} queries: its first {goes_by} is "
            f"{table[ASKER].first()!r}, theirs is {askers[KEY].first()!r}."
        )
    return joined.select(QUERY, ASKER, NAMED, RANKER, *(c for c in (SCORE, RANK) if c in joined.columns))


def _placed(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """+ place: from 1 in each list, equal for ties; by score, or by rank where there is no score."""
    twice = table.filter(pl.struct(QUERY, NAMED, RANKER).is_duplicated())
    if twice.height:
        raise RankingFault(
            f"{path}: {twice.height:,} rows list an item again: item {twice[NAMED][0]} stands more than once for "
            f"{twice[ASKER][0]}. List each item once."
        )
    columns = [column for column in (SCORE, RANK) if column in table.columns]
    numbers = table.with_columns(pl.col(column).cast(pl.Float64, strict=False) for column in columns)
    for column in columns:
        bad = table.filter(~numbers[column].is_finite().fill_null(False))
        if bad.height:
            raise RankingFault(
                f"{path}: {bad.height:,} {column}s are not finite numbers, first for {bad[ASKER][0]}, item "
                f"{bad[NAMED][0]} ({bad[column][0]}). A ranking needs finite scores."
            )
    if len(columns) == 2:
        _agree(numbers, path)
    best = -pl.col(SCORE) if SCORE in columns else pl.col(RANK)
    return numbers.with_columns(best.rank("dense").over(RANKER, QUERY).cast(pl.Int64).alias(PLACE))


def _agree(numbers: pl.DataFrame, path: Path) -> None:
    """Rank and score in one file must tell one order: who is asked to choose would choose wrong."""
    ordered = numbers.sort(RANKER, QUERY, RANK, maintain_order=True)
    climbs = (pl.col(SCORE) > pl.col(SCORE).shift(1)) & (pl.col(RANK) > pl.col(RANK).shift(1))
    torn = ordered.filter(climbs.over(RANKER, QUERY))
    if torn.height:
        row = torn.row(0, named=True)
        raise RankingFault(
            f"{path}: rank and score disagree in {torn.height:,} rows, first for {row[ASKER]}: item {row[NAMED]} (rank "
            f"{row[RANK]:g}) scores {row[SCORE]:g}, more than the item before it. Leave out the column that "
            "does not count."
        )


def _items_coded(found: list[tuple[str, Path, pl.DataFrame]], asked: Asked) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    """The rankings in codes; an item that no catalogue knows gets the same code below 0 in all of them (item, key)."""
    named = [part.select(NAMED) for _, _, part in found if NAMED in part.columns]
    names = (
        pl.concat(named).unique(maintain_order=True) if named else pl.DataFrame({NAMED: []}, schema={NAMED: pl.String})
    )
    if asked.items is None:
        codes = names.with_columns(pl.col(NAMED).cast(pl.Int32, strict=False).alias(ITEM))
    else:
        codes = names.join(asked.items, left_on=NAMED, right_on=KEY, how="left", maintain_order="left")
    lowest = min(int(asked.items[ITEM].min() or 0), 0) if asked.items is not None else 0  # type: ignore[arg-type]
    strange = lowest - pl.col(ITEM).is_null().cum_sum().cast(pl.Int32)
    codes = codes.with_columns(pl.when(pl.col(ITEM).is_null()).then(strange).otherwise(pl.col(ITEM)).alias(ITEM))
    rankings = []
    for ranker, path, part in found:
        if NAMED not in part.columns:
            rankings.append(checked_ranking(part, where=str(path)))
            continue
        coded = part.join(codes, on=NAMED, how="left", maintain_order="left")
        # In a CSV's world only targets have names, and a poor ranker of few queries may list none of them.
        if (asked.keyed or asked.queries.height >= FEW) and not coded.filter(pl.col(ITEM) >= 0).height:
            known = asked.items[KEY].first() if asked.items is not None else asked.queries[TARGET].first()
            raise RankingFault(
                f"{path}: none of its items is known: its first item is {part[NAMED].first()!r}, one of the "
                f"catalogue's is {str(known)!r}."
            )
        strangers = coded.filter(pl.col(ITEM) < 0)
        if asked.keyed and asked.items is not None and strangers.height:
            note(
                f"{path}: {strangers[NAMED].n_unique():,} items of `{ranker}` are not in the catalogue, first "
                f"{strangers[NAMED][0]!r}; their {strangers.height:,} rows keep their places, and are never right"
            )
        # Places, not scores: two float64 scores may be one float32, and would tie where their owner did not.
        listed = coded.sort(QUERY, PLACE, maintain_order=True).with_columns(
            (-pl.col(PLACE)).cast(pl.Float32).alias(SCORE),
            pl.col(PLACE).rank("ordinal").over(QUERY).cast(pl.Int32).alias(RANK),
            pl.lit(ranker).alias(RANKER),
        )
        rankings.append(checked_ranking(listed, where=str(path)))
    return rankings, codes.filter(pl.col(ITEM) < lowest).select(ITEM, pl.col(NAMED).alias(KEY))


def _told_apart(found: Sequence[tuple[str, Path]]) -> list[str]:
    """Names of rankers; the same name twice takes as many folders in front as it needs: `a/orpo`, `b/orpo`."""
    names = [name for name, _ in found]
    for depth in range(1, 12):
        doubled = {name for name in names if names.count(name) > 1}
        if not doubled:
            return names
        names = [
            "/".join([*path.absolute().parts[-1 - depth : -1], name]) if now in doubled else now
            for now, (name, path) in zip(names, found, strict=True)
        ]
    name, path = next((n, p) for n, p in found if [m for m, _ in found].count(n) > 1)
    raise RankingFault(f"{path}: `{name}` is ranked twice. Give each ranking once, or name its ranker.")
