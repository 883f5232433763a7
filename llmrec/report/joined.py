"""Several runs as one: their queries, items and rankings in the codes of the first, joined by the owner's own ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrec.columns import ITEM, ITEMS, KEY, POSITION, QUERY, RANKER, SCORE, TARGET, USER
from llmrec.errors import RankingFault
from llmrec.evaluate.of_run import OfRun, read_run
from llmrec.report.evidence import seed_of

Tables = dict[str, dict[str, list[pl.DataFrame]]]
WANTED = "Runs compare where they asked the same users for the same items; give runs of the same data and split."


@dataclass(frozen=True)
class Member:
    """One of several runs, in the codes of the first."""

    name: str
    folder: Path
    held: OfRun
    rankings: Tables
    """table -> ranker -> a ranking each seed."""
    candidates: dict[str, pl.DataFrame | None]


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a run."""
    return path.is_dir() and (path / "recipe.yaml").is_file()


def read_members(folders: Sequence[Path]) -> list[Member]:
    """The runs, in the codes of the first. Raises RankingFault where they asked for different things."""
    held = [read_run(folder) for folder in folders]
    names = _names(folders)
    first = held[0]
    members = []
    for name, folder, one in zip(names, folders, held, strict=True):
        queries = same_queries(first, one, names[0], name)
        items = _same_items(first, one, names[0], name)
        rankings = {
            table: {
                ranker: [_coded(ranking, queries, items) for ranking in seeds]
                for ranker, seeds in _seeds_together(rankers).items()
            }
            for table, rankers in one.rankings.items()
        }
        offered = {t: None if c is None else _candidates(c, queries, items) for t, c in one.candidates.items()}
        members.append(Member(name, folder, one, rankings, offered))
    return members


def same_queries(first: OfRun, other: OfRun, a: str, b: str) -> pl.DataFrame:
    """query (of the other) -> asked (the first's query of the same user and target); RankingFault where they differ."""
    ours, theirs = _asked(first), _asked(other)
    by = ["who", "nth"]
    for one, rest, name, lacks in ((ours, theirs, a, b), (theirs, ours, b, a)):
        alone = one.join(rest, on=by, how="anti", maintain_order="left")
        if alone.height:
            raise RankingFault(
                f"compare: `{a}` asks {ours.height:,} queries and `{b}` {theirs.height:,}; {alone.height:,} only "
                f"`{name}` asks and not `{lacks}`, the first of user {alone['who'][0]}. {WANTED}"
            )
    both = theirs.join(ours.rename({QUERY: "asked"}), on=by, suffix="_first", maintain_order="left")
    for column, what in (("target_key", "is asked for item {} in `{}` and for {} in `{}`"),
                         (POSITION, "had {} interactions before in `{}` and {} in `{}`")):  # fmt: skip
        torn = both.filter(pl.col(column) != pl.col(f"{column}_first"))
        if torn.height:
            said = what.format(torn[f"{column}_first"][0], a, torn[column][0], b)
            raise RankingFault(
                f"compare: {torn.height:,} of {both.height:,} queries differ, the first of user {torn['who'][0]}, who "
                f"{said}. {WANTED}"
            )
    return both.select(QUERY, "asked")


def _asked(held: OfRun) -> pl.DataFrame:
    """query, who (the owner's id), nth query of that user, target_key, position; by user."""
    larder = held.larder
    users = larder.users.select(USER, pl.col(KEY).cast(pl.String).alias("who"))
    items = larder.catalogue.select(pl.col(ITEM).alias(TARGET), pl.col(KEY).cast(pl.String).alias("target_key"))
    queries = larder.fold("test").join(users, on=USER).join(items, on=TARGET)
    queries = queries.sort("who", POSITION).with_columns(nth=pl.int_range(pl.len()).over("who"))
    return queries.select(QUERY, "who", "nth", "target_key", POSITION)


def _same_items(first: OfRun, other: OfRun, a: str, b: str) -> pl.DataFrame:
    """item (of the other) -> coded (the first's item of the same key)."""
    ours, theirs = (held.larder.catalogue.select(ITEM, pl.col(KEY).cast(pl.String)) for held in (first, other))
    for one, rest, name, lacks in ((ours, theirs, a, b), (theirs, ours, b, a)):
        alone = one.join(rest, on=KEY, how="anti", maintain_order="left")
        if alone.height:
            raise RankingFault(
                f"compare: the catalogues differ: {alone.height:,} items are in `{name}` and not in `{lacks}`, the "
                f"first is {alone[KEY][0]}. A place in one catalogue is no place in another. {WANTED}"
            )
    return theirs.join(ours.rename({ITEM: "coded"}), on=KEY).select(ITEM, "coded")


def _coded(ranking: pl.DataFrame, queries: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """A ranking in the first run's codes; what it ranks beside the test queries is left out."""
    found = ranking.join(queries, on=QUERY, how="inner", maintain_order="left")
    found = found.join(items, on=ITEM, how="left", maintain_order="left")
    return found.with_columns(
        pl.col("asked").cast(ranking.schema[QUERY]).alias(QUERY), pl.col("coded").cast(ranking.schema[ITEM]).alias(ITEM)
    ).select(ranking.columns)


def _candidates(table: pl.DataFrame, queries: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Candidates in the first run's codes."""
    kind = table.schema[ITEMS]
    codes = dict(items.iter_rows())
    found = table.join(queries, on=QUERY, how="inner", maintain_order="left")
    return found.with_columns(
        pl.col("asked").alias(QUERY), pl.col(ITEMS).list.eval(pl.element().replace_strict(codes)).cast(kind)
    ).drop("asked")


def _seeds_together(rankers: dict[str, list[pl.DataFrame]]) -> dict[str, list[pl.DataFrame]]:
    """`fused-s7`, `fused-s8` as the seeds of `fused`, as an evaluation takes them."""
    found: dict[str, list[pl.DataFrame]] = {}
    for ranker, seeds in rankers.items():
        found.setdefault(seed_of(ranker, ())[0], []).extend(seeds)
    return found


def same_ranking(a: list[pl.DataFrame], b: list[pl.DataFrame]) -> bool:
    """Whether two rankers said the same of every query: the same items with the same scores."""
    if len(a) != len(b):
        return False
    order = [QUERY, ITEM]
    return all(
        x.select(*order, SCORE).sort(order).equals(y.select(*order, SCORE).sort(order))
        for x, y in zip(a, b, strict=True)
    )


def renamed(ranking: pl.DataFrame, ranker: str) -> pl.DataFrame:
    """The ranking under another name."""
    return ranking.with_columns(pl.lit(ranker).alias(RANKER))


def _names(folders: Sequence[Path]) -> list[str]:
    """What to call the runs: their folders' names, with as many folders above as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        twice = next(folder for i, folder in enumerate(folders) if parts[i] in parts[:i])
        raise RankingFault(f"compare: {twice} is given twice. Give each run once.")
    for depth in range(1, max(map(len, parts)) + 1):
        # Not a slash, which stands between a run and its ranker.
        names = ["-".join(part.strip("/") for part in one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
