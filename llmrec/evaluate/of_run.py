"""What a run folder holds for its judges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from llmrec.data.larder import Larder
from llmrec.errors import RunFault
from llmrec.evaluate.sentences import FLOORS, RETRIEVER
from llmrec.ranking import read_ranking, read_table

CATALOGUE, TWO_STAGE = "catalogue", "two_stage"
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


def read_run(run: Path) -> OfRun:
    """Reads prepare/, candidates/, rankings/ and recipe.yaml of a run folder.

    `<arm>-s<seed>` folders are seeds of their arm. Anybody's folder in rankings/ takes part. Raises RunFault where a
    part is missing, RankingFault where a ranking does not hold.
    """
    if not (run / "recipe.yaml").is_file():
        raise RunFault(f"{run}: is not a run folder (it has no recipe.yaml).")
    recipe: dict[str, Any] = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8")) or {}
    arms = list(recipe.get("arms") or ["orpo"])
    files = sorted(run.glob("rankings/*/*.parquet"))
    if not files:
        raise RunFault(f"{run}: has no rankings yet; run `llmrec rank` first.")
    rankings: dict[str, dict[str, list[pl.DataFrame]]] = {}
    candidates: dict[str, pl.DataFrame | None] = {}
    for path in sorted(files, key=lambda path: _order(path.parent.name, arms)):
        table = path.stem
        if table in BESIDE:
            continue
        if table not in candidates:
            candidates[table] = None if table == CATALOGUE else _candidates(run, table)
        rankings.setdefault(table, {}).setdefault(_ranker(path.parent.name, arms), []).append(read_ranking(path))
    return OfRun(
        Larder.read(run / "prepare"),
        rankings,
        candidates,
        str((recipe.get("split") or {}).get("method", "time")),
        arms,
        max((recipe.get("evaluate") or {}).get("at") or [20]),
        int(recipe.get("seed", 7)),
    )


def _candidates(run: Path, table: str) -> pl.DataFrame:
    path = run / "candidates" / f"{table}.parquet"
    if table == TWO_STAGE:
        path = run / "rankings" / RETRIEVER / "test_candidates.parquet"
    if not path.is_file():
        raise RunFault(f"{path}: missing, and rankings/*/{table}.parquet rank it.")
    return read_table(path)


def _ranker(folder: str, arms: list[str]) -> str:
    """The arm that a folder is a seed of, else the folder's name."""
    seed = re.fullmatch(r"(.+)-s\d+", folder)
    return seed[1] if seed and seed[1] in arms else folder


def _order(folder: str, arms: list[str]) -> tuple[int, str]:
    """Floors, retriever, arms as the recipe has them, everybody else by name."""
    known = [*FLOORS, RETRIEVER, *arms]
    ranker = _ranker(folder, arms)
    return (known.index(ranker) if ranker in known else len(known), folder)
