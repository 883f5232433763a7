"""The one shuffle on Spark, for logs that outgrow one machine: the twin of `shuffle`, the same histories and queries.

Rows come as Parquet parts, with numbers for keys; Spark orders them, takes out repeats and what is below the minima,
and makes histories, split and queries, with nothing but its own functions, so that no Python runs on the workers. The
driver learns which users and items stay, never an interaction, draws their codes, and reads the finished histories.
Workers of a cluster (`data.spark_master: spark://host:port`) must see the run's folder under the same path.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmrec.columns import (
    BEHAVIOURS,
    FOLD,
    ITEM,
    ITEMS,
    KEY,
    POSITION,
    QUERY,
    RATINGS,
    TARGET,
    TIME,
    TIMES,
    TRAIN,
    USER,
)
from llmrec.data import splits
from llmrec.data.histories import codes
from llmrec.data.interactions import BEHAVIOUR, RATING, Arrivals
from llmrec.data.readers import LINE
from llmrec.data.shuffle import Names, Shuffled, check, leave
from llmrec.data.splits import Held
from llmrec.errors import DataFault, RunFault
from llmrec.ranking import QUERIES_SCHEMA
from llmrec.recipe.sections import Data, Split

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PER_TASK = 500_000  # rows that one task sorts
BINS = 4096  # of a histogram that is refined until a quantile is one value
INNER = {ITEMS: ITEM, TIMES: TIME, RATINGS: RATING, BEHAVIOURS: BEHAVIOUR}


def shuffled(arrivals: Arrivals, names: Names, section: Split, *, seed: int, work: Path) -> tuple[Shuffled, Held]:
    """Histories and split, as `shuffle` and `splits` make them; `work` is a folder for what lies between.

    Raises DataFault where Spark or Java is missing or the master does not answer, and where the twin does; RunFault
    where Spark gives up on the way.
    """
    parts = [str(part) for part in arrivals.rows.write()]
    many = arrivals.rows.rows // PER_TASK
    with session(arrivals.data, work) as spark:
        spark.conf.set("spark.sql.shuffle.partitions", max(many, spark.sparkContext.defaultParallelism))
        rows = spark.read.parquet(*parts)
        rows = _without_repeats(rows, arrivals, names, work)
        rows = _core(rows, arrivals, names, work)
        users, items = (
            codes(keys[_distinct(rows, name)], seed=seed, purpose=name)
            for name, keys in ((USER, names.users), (ITEM, names.items))
        )
        for name, keys, table in ((USER, names.users, users), (ITEM, names.items, items)):
            places = keys.search_sorted(table[KEY]).cast(pl.Int64)
            coded = table.select(places.alias(name), pl.col("code").alias(f"{name}_code"))
            coded.write_parquet(work / f"{name}.parquet")
            rows = rows.join(spark.read.parquet(str(work / f"{name}.parquet")), on=name)
        found, held = _split(_histories(rows, arrivals), rows, arrivals, section, work)
    table = found.drop(TRAIN)
    if not arrivals.timed:
        table = table.with_columns(pl.lit(None, pl.List(pl.Int64)).alias(TIMES))
    return Shuffled(table, users, items), held


@contextmanager
def session(data: Data, work: Path) -> Iterator[SparkSession]:
    """A session on `data.spark_master`, ended afterwards; one that the process has already is taken and left alone."""
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise DataFault(
            'data.engine=spark: pyspark is not installed: pip install "llmrec[spark]", or say data.engine=polars.'
        ) from None
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and (Path(home) / "bin" / "java").exists()):
        raise DataFault(
            "data.engine is spark, and there is no Java: install one (17 or later), or set JAVA_HOME, or use "
            "data.engine=polars."
        )
    theirs = SparkSession.getActiveSession()
    if theirs is not None:
        yield theirs
        return
    builder = SparkSession.builder.appName("llmrec prepare").master(data.spark_master)
    for name, value in {
        "spark.driver.memory": f"{max(1, round(data.memory or 2))}g",
        "spark.local.dir": str(work / "spark"),
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pandas, which has no part in this
            spark = builder.getOrCreate()
    except Exception as fault:  # whatever Java says
        raise DataFault(
            f"data.spark_master={data.spark_master}: Spark does not start ({_first(fault)}). Is "
            "the master there, and Java 17 or later? data.engine=polars needs neither."
        ) from None
    try:
        yield spark
    except (PySparkException, Py4JError) as fault:
        raise RunFault(
            f"data.spark_master={data.spark_master}: Spark gave up ({_first(fault)}). Workers must see {work} under "
            "the same path, and have room there and in memory; data.engine=polars needs no workers."
        ) from None
    finally:
        spark.stop()


def _first(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0].rstrip(".")


def _without_repeats(rows: DataFrame, arrivals: Arrivals, names: Names, work: Path) -> DataFrame:
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    data = arrivals.data
    if data.duplicates == "keep":
        return rows.persist()
    turn = [F.col(TIME), F.col(LINE)] if data.duplicates == "first" else [F.col(TIME).desc(), F.col(LINE).desc()]
    if data.behaviours is not None:
        turn = [(F.col(BEHAVIOUR) < len(data.behaviours.target)).desc(), *turn]
    marked = rows.withColumn("turn", F.row_number().over(Window.partitionBy(USER, ITEM).orderBy(*turn))).persist()
    gone = marked.filter(F.col("turn") > 1)
    _leave(gone, arrivals, names, f"the same item again (duplicates: {data.duplicates})", work)
    return marked.filter(F.col("turn") == 1).drop("turn").persist()


def _core(rows: DataFrame, arrivals: Arrivals, names: Names, work: Path) -> DataFrame:
    from pyspark.sql import functions as F

    data = arrivals.data
    by_user = rows.groupBy(USER).count().agg(F.sum("count"), F.count("count"), F.max("count")).first()
    assert by_user is not None
    before, people, most = (int(value or 0) for value in by_user)
    left, changed = before, True
    while changed:
        changed = False
        for name, least, word in ((USER, data.min_user, "a user"), (ITEM, data.min_item, "an item")):
            few = rows.groupBy(name).count().filter(F.col("count") < least).select(name).persist()
            if few.isEmpty():
                continue
            changed = True
            gone = rows.join(few, on=name, how="left_semi")
            left -= _leave(gone, arrivals, names, f"{word} with fewer than {least} interactions", work)
            rows = rows.join(few, on=name, how="left_anti").persist()
    users = [int(row[0]) for row in rows.select(USER).distinct().limit(2).collect()]
    check(arrivals, names, left=left, before=before, people=people, most=most, users=users)
    return rows


def _leave(gone: DataFrame, arrivals: Arrivals, names: Names, reason: str, work: Path) -> int:
    """Enters rows that are left out, which come back as files; returns how many."""
    folder = work / "left"
    gone.select(LINE, USER, ITEM).write.mode("overwrite").parquet(str(folder))
    count = 0
    for part in sorted(folder.glob("*.parquet")):
        rows = pl.read_parquet(part)
        leave(arrivals, names, rows, reason)
        count += rows.height
    return count


def _distinct(rows: DataFrame, name: str) -> pl.Series:
    return pl.Series(sorted(int(row[0]) for row in rows.select(name).distinct().toLocalIterator()), dtype=pl.UInt32)


def _histories(rows: DataFrame, arrivals: Arrivals) -> DataFrame:
    """user (code), items (codes), times and, where there are any, ratings and behaviours, as arrays in order."""
    from pyspark.sql import functions as F

    there = {ITEMS: True, TIMES: True, RATINGS: arrivals.rated, BEHAVIOURS: arrivals.data.behaviours is not None}
    inner = [F.col("item_code").alias(ITEM)]
    inner += [F.col(INNER[name]) for name in (RATINGS, BEHAVIOURS) if there[name]]
    own = F.sort_array(F.collect_list(F.struct(TIME, LINE, *inner))).alias("own")
    grouped = rows.groupBy(F.col("user_code").alias(USER)).agg(own)
    return grouped.select(USER, *(F.col(f"own.{INNER[name]}").alias(name) for name in INNER if there[name]))


def _split(
    histories: DataFrame, rows: DataFrame, arrivals: Arrivals, section: Split, work: Path
) -> tuple[pl.DataFrame, Held]:
    """The histories with `train`, in order of users, and what `splits.split` says of them."""
    from pyspark.sql import functions as F

    behaviours, where = arrivals.data.behaviours, arrivals.file
    every = f"sequence(0, size({ITEMS}) - 1)"
    asked = every if behaviours is None else f"filter({every}, p -> {BEHAVIOURS}[p] < {len(behaviours.target)})"
    table = histories.withColumn("asked", F.expr(asked))
    moments = None
    if section.method == "last":
        table = table.withColumn("final", F.expr("if(size(asked) > 0, element_at(asked, -1), -1)"))
        table = table.withColumn("before", F.expr("if(size(asked) > 1, element_at(asked, -2), -1)"))
        train = f"case when before >= 1 then before when final >= 1 then final else size({ITEMS}) end"
        positions = {
            fold: f"if({name} >= 1, array({name}), array())" for fold, name in (("valid", "before"), ("test", "final"))
        }
    else:
        if not arrivals.timed:
            raise splits.no_times(where)
        test = _moment(rows.select(TIME), section.quantile, "test", where)
        valid = _moment(rows.select(TIME).filter(F.col(TIME) < test), section.quantile, "validation", where)
        moments = {"valid": valid, "test": test}
        train = f"size(filter({TIMES}, t -> t < {valid}L))"
        spans = {"valid": (f"{TIMES}[p] >= {valid}L and {TIMES}[p] < {test}L"), "test": f"{TIMES}[p] >= {test}L"}
        cut = {"first": "slice({}, 1, 1)", "last": "slice({0}, greatest(size({0}), 1), 1)", "all": "{}"}[section.target]
        positions = {fold: cut.format(f"filter(asked, p -> p >= 1 and {within})") for fold, within in spans.items()}
    table = table.withColumn(TRAIN, F.expr(f"cast({train} as int)"))
    for fold, of in positions.items():
        table = table.withColumn(fold, F.expr(of))
    table.write.mode("overwrite").parquet(str(work / "histories"))
    kinds: dict[str, Any] = {
        USER: pl.Int32,
        ITEMS: pl.List(pl.Int32),
        TIMES: pl.List(pl.Int64),
        RATINGS: pl.List(pl.Float32),
    }
    kinds |= {BEHAVIOURS: pl.List(pl.UInt8), TRAIN: pl.Int32}
    whole = pl.scan_parquet(work / "histories" / "*.parquet")
    found = whole.collect_schema()
    told = whole.select(pl.col(name).cast(kind) for name, kind in kinds.items() if name in found).sort(USER).collect()
    queries = pl.concat([_queries(whole, fold, timed=arrivals.timed) for fold in splits.FOLDS]).with_row_index(QUERY)
    queries = queries.cast(pl.Schema(QUERIES_SCHEMA)).select(*QUERIES_SCHEMA)
    if not (queries[FOLD] == "test").any():
        raise splits.nobody(where, section, told[ITEMS].list.len().to_numpy(), targets=behaviours is not None)
    return told, Held(told[TRAIN].to_numpy(), queries, moments)


def _queries(whole: pl.LazyFrame, fold: str, *, timed: bool) -> pl.DataFrame:
    at = pl.col(fold)
    times = pl.col(TIMES).list.gather(at) if timed else at.cast(pl.List(pl.Int64))
    told = whole.filter(at.list.len() > 0).select(
        USER, at.alias(POSITION), times.alias(TIME), pl.col(ITEMS).list.gather(at).alias(TARGET)
    )
    table = told.explode(POSITION, TIME, TARGET).sort(USER, POSITION).collect()
    return table.with_columns(pl.col(TIME) if timed else pl.lit(None, pl.Int64).alias(TIME), pl.lit(fold).alias(FOLD))


def _moment(times: DataFrame, quantile: float, fold: str, where: str) -> int:
    """The time at a quantile, exactly, by histograms of ever finer bins; some times must lie strictly before it."""
    from pyspark.sql import functions as F

    row = times.agg(F.min(TIME), F.max(TIME), F.count(TIME)).first()
    assert row is not None
    count = int(row[2])
    place = min(int(quantile * count), count - 1)
    low, high = (int(row[0]), int(row[1])) if count else (0, 0)
    first = low
    while low < high:
        width = (high - low) // BINS + 1
        inside = times.filter(F.col(TIME).between(low, high))
        bins = inside.groupBy(F.floor(F.expr(f"({TIME} - {low}L) div {width}L")).alias("bin")).count().collect()
        heights = {int(one[0]): int(one[1]) for one in bins}
        at = min(heights)
        for at in sorted(heights):
            if place < heights[at]:
                break
            place -= heights[at]
        low, high = low + at * width, min(high, low + (at + 1) * width - 1)
    if not count or low == first:
        raise splits.nothing_before(where, quantile, fold, count, times.distinct().count())
    return low
