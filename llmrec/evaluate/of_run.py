"""What a run folder holds for its judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.columns import ITEMS, QUERY, SOURCE
from llmrec.data.larder import Larder
from llmrec.errors import RankingFault, RunFault
from llmrec.evaluate.case import Case, Mined, parts_of
from llmrec.evaluate.checks import check_asked
from llmrec.evaluate.reading import read_yaml
from llmrec.evaluate.sentences import FLOORS, RETRIEVER
from llmrec.ranking import arm_and_seed, checked_queries, read_ranking, read_table

CATALOGUE, TWO_STAGE = "catalogue", "two_stage"
FUSED = "fused"
# Rankings of validation queries, on which settings were chosen, and what the retriever offered to rerank.
BESIDE = ("valid", "valid_two_stage", "valid_candidates", "test_candidates")


@dataclass(frozen=True)
class OfRun:
    """A run's tables, as `llmrec.evaluate.evaluate.evaluate` takes them."""

    larder: Larder
    rankings: dict[str, dict[str, list[pl.DataFrame]]]
    candidates: dict[str, pl.DataFrame | None]
    method: str
    arms: list[str]
    depth: int
    seed: int
    primary: str = "ndcg@10"
    expected: dict[str, int] = field(default_factory=dict)
    """ranker -> training seeds that the recipe asks for."""
    mined: Mined | None = None


def read_run(run: Path) -> OfRun:
    """Reads prepare/, candidates/, rankings/ and recipe.yaml of a run folder.

    `<arm>-s<seed>` folders are seeds of their arm, `fused-s<seed>` of fused. Anybody's folder in rankings/ takes part.
    Raises RunFault where a part is missing, RankingFault where a ranking does not hold.
    """
    if not (run / "recipe.yaml").is_file():
        raise RunFault(f"{run}: is not a run folder (it has no recipe.yaml).")
    recipe = read_yaml(run / "recipe.yaml")
    arms = list(recipe.get("arms") or ["orpo"])
    files = sorted(run.glob("rankings/*/*.parquet"))
    if not files:
        stopped = sorted(str(p.parent.relative_to(run / ".partial")) for p in run.glob(".partial/**/.fingerprint"))
        cut = f" It was stopped in {', '.join(stopped)}." if stopped else ""
        raise RunFault(f"{run}: has no rankings yet; run `llmrec rank` first.{cut}")
    larder = _larder(run)
    rankings: dict[str, dict[str, list[pl.DataFrame]]] = {}
    candidates: dict[str, pl.DataFrame | None] = {}
    for path in sorted(files, key=lambda path: _order(path.parent.name, arms)):
        table = path.stem
        if table in BESIDE:
            continue
        if table not in candidates:
            candidates[table] = None if table == CATALOGUE else _candidates(run, table)
        rankings.setdefault(table, {}).setdefault(_ranker(path.parent.name, arms), []).append(read_ranking(path))
    section = recipe.get("evaluate") or {}
    return OfRun(
        larder,
        rankings,
        candidates,
        str((recipe.get("split") or {}).get("method", "time")),
        arms,
        max(section.get("at") or [20]),
        int(recipe.get("seed", 7)),
        str(section.get("primary", "ndcg@10")),
        _expected(recipe),
        mined_of(run, larder),
    )


def case_of(run: Path) -> Case:
    """A run as the audit looks at it. Raises as `read_run`, and RankingFault where its rankings do not compare."""
    from llmrec.evaluate.evaluate import checked  # which itself audits

    held = read_run(run)
    queries = held.larder.fold("test")
    check_asked(queries, where=str(run / "prepare" / "queries.parquet"))
    offered, _ = checked(held.rankings, held.candidates, queries)
    return Case(
        **parts_of(held.larder, queries),
        rankings=held.rankings,
        candidates=offered,
        primary=held.primary,
        depth=held.depth,
        seed=held.seed,
        method=held.method,
        mined=held.mined,
        expected=held.expected,
    )


def mined_of(run: Path, larder: Larder) -> Mined | None:
    """What hard negatives were mined from, or None where nothing was mined."""
    files = [run / "retrieve" / f"{name}.parquet" for name in ("mined", "queries", "mined_valid")]
    if not all(path.is_file() for path in files):
        return None
    training, asked, valid = (read_table(path) for path in files)
    return Mined(training, checked_queries(asked, where=str(files[1])), valid, larder.fold("valid"))


def _larder(run: Path) -> Larder:
    try:
        larder = Larder.read(run / "prepare")
        checked_queries(larder.queries, where=str(run / "prepare" / "queries.parquet"))
        larder.histories.select("user", "items", "times", "train")
        larder.catalogue.select("item", "key", "text")
    except pl.exceptions.ColumnNotFoundError as fault:
        raise RunFault(
            f"{run / 'prepare'}: {str(fault).splitlines()[0]}: a table lacks a column. Run `llmrec prepare` again."
        ) from None
    return larder


def _expected(recipe: dict[str, Any]) -> dict[str, int]:
    """The rankers that the recipe names, each with its training seeds; what is not trained has one ranking."""
    asked = list((recipe.get("evaluate") or {}).get("rankers") or [])
    named = {ranker: 1 for ranker in (*FLOORS, RETRIEVER, "shuffled_titles") if ranker in asked}
    if "language" in asked:
        arms = {arm: (content or {}).get("objective", {}) for arm, content in (recipe.get("arms") or {}).items()}
        seeds = {arm: int(recipe.get("seeds", 1)) if own is not None else 1 for arm, own in arms.items()}
        named |= seeds
        if FUSED in asked and seeds:
            named[FUSED] = list(seeds.values())[-1]  # each seed of the last arm beside the retriever
    return named


def _candidates(run: Path, table: str) -> pl.DataFrame:
    path = run / "candidates" / f"{table}.parquet"
    if table == TWO_STAGE:
        path = run / "rankings" / RETRIEVER / "test_candidates.parquet"
    if not path.is_file():
        raise RunFault(f"{path}: missing, and rankings/*/{table}.parquet rank it. Run `llmrec rank` again.")
    found = read_table(path)
    missing = [column for column in (QUERY, ITEMS, SOURCE) if column not in found.columns]
    if missing:
        raise RankingFault(f"{path}: column {', '.join(missing)} missing; found {', '.join(found.columns)}.")
    return found


def _ranker(folder: str, arms: list[str]) -> str:
    """The arm (or `fused`) that a folder is a seed of, else the folder's name."""
    name, _ = arm_and_seed(folder)
    return name if name in (*arms, FUSED) else folder


def _order(folder: str, arms: list[str]) -> tuple[int, str, int]:
    """Floors, retriever, arms as the recipe has them, everybody else by name; seeds by number."""
    known = [*FLOORS, RETRIEVER, *arms]
    ranker, seed = _ranker(folder, arms), arm_and_seed(folder)[1]
    return (known.index(ranker) if ranker in known else len(known), ranker, seed or 0)
