"""Everybody's rankings of the same queries and candidates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.candidates.two_stage import completed, two_stage
from llmrec.columns import QUERY
from llmrec.data.larder import Larder
from llmrec.files import write_json
from llmrec.ranking import read_ranking, read_table, write_parquet
from llmrec.recipe.sections import Objective
from llmrec.task import ArmRun, Task


def rank_floor(task: Task, name: str, out: Path) -> None:
    """A floor's rankings."""
    from llmrec.rank.floors import FLOORS

    larder = task.larder()
    _rank_scorer(task, larder, FLOORS[name](larder), out)


def rank_retriever(task: Task, out: Path) -> None:
    """Ranks with the retriever; its first n become the two-stage candidates."""
    from llmrec.rank.scorer import rank_catalogue
    from llmrec.retriever.model import Retriever

    larder = task.larder()
    model = Retriever.load(task.run.path("retrieve") / "model", n_items=larder.n_items)
    _rank_scorer(task, larder, model, out)
    n = task.recipe.candidates.two_stage
    if n is not None:
        for fold in ("valid", "test"):
            masked = task.recipe.evaluate.masks
            best = rank_catalogue(model, larder, larder.fold(fold), n, seed=task.recipe.seed, masked=masked)
            best = best.filter(pl.col("rank") <= n)
            offered = two_stage(best, n, seed=task.recipe.seed)
            write_parquet(offered, out / f"{fold}_candidates.parquet")
            write_parquet(best, out / ("two_stage.parquet" if fold == "test" else "valid_two_stage.parquet"))


def rank_language(task: Task, one: ArmRun, out: Path, *, shuffled: bool = False) -> None:
    """Ranks with a language arm, or its control; how answers become scores may be left to the validation queries."""
    from llmrec.language.load import load_model, refuse_strangers
    from llmrec.rank.arm import rank_arm

    larder, recipe = task.larder(), one.recipe
    larder = larder.shuffled(recipe.seed) if shuffled else larder
    encoder = task.encoder(recipe, larder)
    model = load_model(recipe.model, here=task.here, built=task.run.path(one.built[0]) if one.built else None)
    refuse_strangers(encoder.tokenizer, model)
    size = {"parameters": model.num_parameters(), "model_bytes": model.get_memory_footprint()}
    if recipe.objective is not None:
        from llmrec.language.lora import tuned

        model = tuned(model, task.run.path(f"train/{one.name}") / "adapter")
    offered: dict[str, dict[str, pl.DataFrame]] = {}
    for fold in ("valid", "test"):
        offered[fold] = {"uniform": candidates_of(task, fold)}
        if task.reranks and (
            recipe.answer.style == "title" or (recipe.candidates.two_stage or 0) <= len(encoder.labels)
        ):
            offered[fold]["two_stage"] = read_table(task.run.path("rankings/retriever") / f"{fold}_candidates.parquet")
    ranker, words = ("shuffled_titles",) * 2 if shuffled else (one.arm, one.name)
    summary = rank_arm(
        model, encoder, larder, offered, recipe, rule=rule_of(task, one), words=words, ranker=ranker, out=out
    )
    write_json({**summary, **size}, out / "summary.json")


def rank_fused(task: Task, name: str, one: ArmRun, out: Path) -> None:
    """Mixes retriever and language arm, the weight chosen on validation, separately for each kind of candidates."""
    from llmrec.rank.fused import chosen_weight, fused

    larder, recipe = task.larder(), task.recipe
    sides = [task.run.path(f"rankings/{one.name}"), task.run.path("rankings/retriever")]
    summary: dict[str, Any] = {"language": one.name}
    for table, held in (("uniform", "valid"), ("two_stage", "valid_two_stage")):
        if not all((side / f"{table}.parquet").exists() for side in sides):
            continue
        language, retriever = (read_ranking(side / f"{held}.parquet") for side in sides)
        weight, values = chosen_weight(
            language, retriever, larder.fold("valid"), recipe.evaluate.primary, seed=recipe.seed
        )
        language, retriever = (read_ranking(side / f"{table}.parquet") for side in sides)
        mixed = fused(language, retriever, weight, seed=recipe.seed)
        write_parquet(mixed, out / f"{table}.parquet")
        if table == "two_stage":  # beyond its first n the retriever's own order stands
            rest = read_ranking(sides[1] / "catalogue.parquet")
            write_parquet(completed(mixed, rest, seed=recipe.seed), out / "catalogue.parquet")
        summary[table] = {"weight_of_language": weight, "validation": values}
    write_json({**summary, **_both(*sides)}, out / "summary.json")


def _both(*sides: Path) -> dict[str, float]:
    """What asking both sides of a mix costs: one after the other, each in its best batch."""
    found = [json.loads((side / "summary.json").read_text(encoding="utf-8")) for side in sides]
    rates = [(one.get("best_batch") or one).get("users_per_second") for one in found]
    return {"users_per_second": float(f"{1 / sum(1 / rate for rate in rates):.3g}")} if all(rates) else {}


def rule_of(task: Task, one: ArmRun) -> str:
    """A rule or `validation`; an arm that is not tuned follows the same rule as those that it is compared with."""
    return one.recipe.answer.rank_by or (one.recipe.objective or task.recipe.objective or Objective()).by


def _rank_scorer(task: Task, larder: Larder, scorer: Any, out: Path) -> None:
    """A scorer's three rankings: validation and test candidates, and the catalogue."""
    import time

    from llmrec.rank.scorer import rank_candidates, rank_catalogue
    from llmrec.rank.speed import speed

    asked = task.recipe.evaluate
    seed, test, k, masked = task.recipe.seed, larder.fold("test"), max(asked.at), asked.masks
    write_parquet(
        rank_candidates(scorer, larder, larder.fold("valid"), candidates_of(task, "valid"), seed=seed),
        out / "valid.parquet",
    )
    write_parquet(
        rank_candidates(scorer, larder, test, candidates_of(task, "test"), seed=seed), out / "uniform.parquet"
    )
    began = time.monotonic()
    best = rank_catalogue(scorer, larder, test, k, seed=seed, masked=masked)
    seconds = time.monotonic() - began
    write_parquet(best, out / "catalogue.parquet")
    summary: dict[str, Any] = {
        "seconds": round(seconds, 3),
        "users_per_second": round(test.height / max(seconds, 1e-9), 1),
        **speed(lambda some: rank_catalogue(scorer, larder, some, k, seed=seed, masked=masked), test, seed=seed),
    }
    if hasattr(scorer, "parameters"):
        weights = list(scorer.parameters())
        summary["parameters"] = sum(p.numel() for p in weights)
        summary["model_bytes"] = sum(p.numel() * p.element_size() for p in weights)
    write_json(summary, out / "summary.json")


def candidates_of(task: Task, fold: str) -> pl.DataFrame:
    sets = read_table(task.run.path("candidates") / "uniform.parquet")
    return sets.join(task.larder().fold(fold), on=QUERY, how="semi")
