"""The stage `prepare`: from the files that a recipe names to the larder."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from llmrec.columns import COUNT, ITEM, ITEMS, KEY, TIME, TRAIN, USER
from llmrec.data import buckets, spark, splits
from llmrec.data.catalogue import catalogue
from llmrec.data.dropped import Dropped
from llmrec.data.interactions import LISTED, LOW, RATING, ROW, WHY, Arrivals
from llmrec.data.larder import DECLINED_SCHEMA, Larder
from llmrec.data.opening import opened
from llmrec.data.readers import LINE
from llmrec.data.salvage import NOT_UTF8
from llmrec.data.shuffle import Names, Shuffled, settled, shuffled
from llmrec.data.summary import Summary, summarised
from llmrec.errors import DataFault, RunFault
from llmrec.progress import note
from llmrec.recipe import sections

REJECTED = "rejected_rows.parquet"
WORK = ".work"  # what waits on disk while the stage goes on; nothing of it is kept


def prepare(data: sections.Data, split: sections.Split, *, seed: int, here: Path, out: Path) -> Summary:
    """Reads interactions and items, leaves out what cannot be used, orders, codes and splits; writes to `out`.

    `here` is the recipe's folder, where relative paths start. What was left out is in `out/rejected_rows.parquet`, also
    when the rest comes to nothing and DataFault is raised; RunFault where the disk is full. `data.memory` bounds what
    is held while interactions are turned into histories; the histories themselves, 12 bytes an interaction, are held
    whole, as in every later stage.
    """
    work = out / WORK
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    dropped = Dropped(work / "rejected")
    account = out / REJECTED
    with _room(out, work):
        try:
            larder, summary = _prepared(data, split, seed=seed, here=here, work=work, dropped=dropped)
            dropped.write(account)
        except DataFault as fault:
            table = dropped.write(account)
            if dropped.counts():
                raise DataFault(f"{fault} Each row that was left out is in {table}, with the reason.") from None
            raise
        larder.write(out)
        summary.write(out / "summary.json")
    if summary.dropped:
        note(f"prepare: rows left out: {dropped.words()}; each is in {out.name}/{account.name}")
    if summary.untitled:
        note(f"prepare: {summary.untitled:,} items have no text of their own and read as their id")
    if NOT_UTF8 in summary.dropped:
        note("prepare: if the file is Latin-1 throughout, convert it: iconv -f latin1 -t utf-8")
    return summary


@contextmanager
def _room(out: Path, work: Path) -> Iterator[None]:
    """Clears up what waited on disk; a full disk becomes one message."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as fault:
        full = isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and not any(words in str(fault) for words in ("No space left", "os error 28")):
            raise
        waiting = sum(path.stat().st_size for path in work.rglob("*") if path.is_file()) / 1e9
        raise RunFault(
            f"{out}: the disk is full ({waiting:.1f} GB of it wait there for prepare). Free some space, choose another "
            "place with --runs, or raise data.memory, so that less has to wait; then run the same command again."
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _prepared(
    data: sections.Data, split: sections.Split, *, seed: int, here: Path, work: Path, dropped: Dropped
) -> tuple[Larder, Summary]:
    memory = data.memory * 1e9 if data.memory is not None else psutil.virtual_memory().available / 2
    stock = opened(data, here=here, dropped=dropped, work=work, memory=memory)
    names = settled(stock.arrivals)
    if data.engine == "spark":
        made, held = spark.shuffled(stock.arrivals, names, split, seed=seed, work=work)
    else:
        made = shuffled(stock.arrivals, names, seed=seed)
        targets = len(data.behaviours.target) if data.behaviours is not None else None
        held = splits.split(made.histories, split, where=stock.file, targets=targets)
    items, untitled = catalogue(
        made.items, stock.described(names.items, names.item_places), text=data.text, where=stock.file
    )
    table = made.histories.insert_column(3, pl.Series(TRAIN, held.train))
    trained = table.select(pl.col(ITEMS).list.head(pl.col(TRAIN)).explode().alias(ITEM)).drop_nulls()
    counts = trained.group_by(ITEM).agg(pl.len().cast(pl.Int64).alias(COUNT))
    items = items.join(counts, on=ITEM, how="left", maintain_order="left").with_columns(pl.col(COUNT).fill_null(0))
    users = made.users.select(pl.col("code").alias(USER), KEY).sort(USER)
    larder = Larder(table, items, held.queries, users, declined(stock.arrivals, names, made))
    if not counts.height:
        raise DataFault(f"{stock.file}: nothing is left to train on; raise split.quantile, or lower data.min_user.")
    return larder, summarised(larder, stock, held, data=data, split=split, untitled=untitled, dropped=dropped)


def declined(arrivals: Arrivals, names: Names, made: Shuffled) -> pl.DataFrame:
    """What users who stay were shown or rated low, of items that stay and that they have nowhere in their history.

    Rows that were shown and are not declined for one of these reasons are left out with it; low ratings were already,
    and of what other rows list it is counted only.
    """
    users = np.full(len(names.users), -1, dtype=np.int32)
    items = np.full(len(names.items), -1, dtype=np.int32)
    for codes, keys, table in ((users, names.users, made.users), (items, names.items, made.items)):
        codes[keys.search_sorted(table[KEY]).to_numpy()] = table["code"].to_numpy()
    parts = []
    for number in range(buckets.COUNT):
        rows = arrivals.declined.take(number)
        if rows is None:
            continue
        coded = rows.with_columns(
            pl.Series("u", users[rows[USER].to_numpy()]), pl.Series("i", items[rows[ITEM].to_numpy()])
        )
        mine = made.histories[np.unique(coded["u"].to_numpy().clip(min=0))].select(pl.col(USER).alias("u"), ITEMS)
        taken = mine.explode(ITEMS).rename({ITEMS: "i"}).unique().with_columns(taken=True)
        coded = coded.join(taken, on=["u", "i"], how="left", maintain_order="left")
        fault = pl.coalesce(
            pl.when(pl.col("u") < 0).then(pl.lit("its user is left out")),
            pl.when(pl.col("i") < 0).then(pl.lit("its item is left out")),
            pl.when("taken").then(pl.lit("the user took it")),
        )
        coded = coded.with_columns(fault.alias("fault"))
        _not_declined(coded.filter(pl.col("fault").is_not_null()), arrivals, names)
        stay = coded.filter(pl.col("fault").is_null())
        rating = pl.col(RATING) if RATING in stay.columns else pl.lit(None)
        parts.append(
            stay.select(
                pl.col("u").alias(USER),
                pl.col("i").alias(ITEM),
                TIME,
                pl.when(pl.col(WHY) == LOW).then(pl.lit("low_rated")).otherwise(pl.lit("skipped")).alias("reason"),
                rating.alias("rating"),
                LINE,
            ).cast(pl.Schema({**DECLINED_SCHEMA, LINE: pl.Int64}))
        )
    if not parts:
        return pl.DataFrame(schema=DECLINED_SCHEMA)
    return pl.concat(parts).sort(USER, TIME, LINE, ITEM).drop(LINE)


def _not_declined(rows: pl.DataFrame, arrivals: Arrivals, names: Names) -> None:
    """Enters rows that were shown, under their `fault`, and counts what stood in other rows' lists."""
    listed = rows.filter(pl.col(WHY) == LISTED)
    arrivals.listed.update(dict(listed.group_by("fault").len().iter_rows()))
    gone = rows.filter(pl.col(WHY) == ROW)
    reason = (pl.lit("shown, and ") + gone["fault"]).alias("reason")
    users, items = names.users[gone[USER]], names.items[gone[ITEM]]
    arrivals.leave(gone.select(LINE, reason, users.alias(USER), items.alias(ITEM)))
