"""A finished run over the cinema whose models never ran: rankers that know the next film to a degree that we choose."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from llmrec.candidates.uniform import uniform
from llmrec.columns import KEY
from llmrec.data.larder import Larder
from llmrec.data.prepare import prepare
from llmrec.evaluate.evaluate import evaluate
from llmrec.evaluate.of_run import read_run
from llmrec.rank.floors import FLOORS
from llmrec.rank.letters import Slots
from llmrec.rank.scorer import Scorer, rank_candidates, rank_catalogue
from llmrec.ranking import read_ranking, read_table, write_parquet
from llmrec.recipe import sections
from llmrec.rng import rng_for
from tests import worlds

RECIPE: dict[str, Any] = {
    "name": "cinema",
    "seed": 7,
    "data": {"path": "cinema.csv", "text": "{title} ({year})"},
    "split": {"method": "last"},
    "model": {"build": {"family": "llama"}},
    "arms": {"before": {"objective": None}, "orpo": {}},
}


@dataclass(frozen=True)
class Knows:
    """Gives the next film a score `sure` above the noise."""

    name: str
    larder: Larder
    sure: float

    def scores(self, contexts: list[np.ndarray], times: np.ndarray | None = None) -> np.ndarray:
        keys = self.larder.catalogue[KEY].to_list()
        code = {key: i for i, key in enumerate(keys)}
        out = rng_for(7, self.name).normal(size=(len(contexts), len(keys)))
        for row, context in zip(out, contexts, strict=True):
            if len(context):
                row[code[worlds.next_film(keys[context[-1]])]] += self.sure
        return out.astype(np.float32)


def finished_run(folder: Path, *, titles: dict[str, str] | None = None) -> Path:
    """A run folder as `llmrec run` leaves it; `titles` renames films (key -> title)."""
    world = worlds.cinema()
    if titles:
        world = world.with_columns(title=world["item"].replace_strict(titles, default=world["title"]))
    path = worlds.write_csv(folder, world)
    run = folder / "run"
    recipe = sections.Recipe.model_validate(RECIPE)
    prepare(recipe.data, recipe.split, seed=recipe.seed, here=path.parent, out=run / "prepare")
    larder = Larder.read(run / "prepare")
    (run / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    _write(run / "manifest.json", {"llmrec": "0.1.0", "versions": {"polars": "2.1.0"}, "seed": 7, "device": "cpu"})

    queries = larder.fold("test")
    candidates = uniform(queries, larder, 20, seed=7)
    write_parquet(candidates, run / "candidates" / "uniform.parquet")
    rankers: list[Scorer] = [fit(larder) for fit in FLOORS.values()]
    rankers += [Knows("retriever", larder, 2.2), Knows("before", larder, 1.0), Knows("orpo", larder, 2.4)]
    rankings: dict[str, dict[str, list[Any]]] = {"uniform": {}, "catalogue": {}}
    for ranker in rankers:
        for table, ranking in {
            "uniform": rank_candidates(ranker, larder, queries, candidates, seed=7),
            "catalogue": rank_catalogue(ranker, larder, queries, 50, seed=7),
        }.items():
            write_parquet(ranking, run / "rankings" / ranker.name / f"{table}.parquet")
            rankings[table][ranker.name] = [ranking]
        summary = {"users_per_second": 123.4, "seconds": 0.3, "parameters": 1_234_567}
        _write(run / "rankings" / ranker.name / "summary.json", summary)
    evaluate(
        larder,
        rankings,
        {"uniform": candidates, "catalogue": None},
        sections.Evaluate(bootstrap=200),
        seed=7,
        out=run / "evaluate",
        arms=["before", "orpo"],
        method="last",
        untuned=["before"],
    )
    _logs(run)
    return run


def _logs(run: Path) -> None:
    for number, (stage, seconds) in enumerate(
        {"prepare": 1.2, "retrieve": 75.0, "pretrain": 300.4, "train": 120.0}.items()
    ):
        facts = {
            "stage": stage,
            "seconds": seconds,
            "peak_rss_gb": 1.25,
            "fingerprint": 64 * "a",
            "started": f"2026-01-01T00:0{number}:00Z",
        }
        _write(run / ("train/orpo" if stage == "train" else stage) / "stage.json", facts | {"device": "cpu"})
    _lines(run / "pretrain" / "log.jsonl", [{"step": s, "loss": 3 + 4 * math.exp(-s / 50)} for s in range(0, 400, 10)])
    tuned = [{"step": s, "loss": 2 - s / 200, "rewards/accuracies": min(1, 0.5 + s / 150)} for s in range(5, 100, 5)]
    tuned += [{"step": 50, "eval_loss": 1.8, "eval_rewards/accuracies": 0.8}, {"train_runtime": 12.0}]
    _lines(run / "train" / "orpo" / "train_log.jsonl", tuned)
    for copy, best in {"model": 0.6, "mining": 0.5}.items():
        rows = [
            {"epoch": e, "loss": 4 / e, "ndcg@10": best * (1 - math.exp(-e / 4)), "seconds": 1.0} for e in range(1, 20)
        ]
        _lines(run / "retrieve" / copy / "log.jsonl", rows)


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def measured_in_full(run: Path) -> Path:
    """Adds to a finished run all that a run may have beside: a two-stage table with fused, what it cost, rules, slots,
    what the lists are like, slices of ten groups, and findings with their reasons."""
    _two_stage(run, Larder.read(run / "prepare"))
    liked = Slots()
    liked.add(np.log([0.31, 0.2, 0.18, 0.16, 0.15]).tolist())
    for name in ("retriever", "before", "orpo", "fused"):
        path = run / "rankings" / name / "summary.json"
        facts = json.loads(path.read_text()) if path.is_file() else {}
        speed = {"retriever": 2000.0, "before": 30.0, "orpo": 25.0}.get(name)
        facts |= {"users_per_second": speed} if speed else {"language": "orpo"}
        if name in ("before", "orpo"):
            facts |= {
                "latency_ms": {"p50": 41.5, "p99": 88.25, "queries": 40},
                "best_batch": {"size": 16, "users_per_second": 61.5},
                "tokens_per_query": {"prompt": 72.5, "read": 31.25, "asked": 12.0},
                "model_bytes": 3_410_432,
                "rank_by": "mean" if name == "orpo" else "sum",
                "validation": {"ndcg@10 by sum": 0.71, "ndcg@10 by mean": 0.74, "ndcg@10 by ghost_free": 0.7},
                "slots": {"orders": 2, **liked.summary()},
                "search": {"rule": "sum"},
            }
        _write(path, facts)
        _write(
            run / "rankings" / name / "stage.json", {"stage": f"rankings/{name}", "seconds": 2.0, "peak_rss_gb": 1.5}
        )
    path = run / "evaluate" / "metrics.json"
    metrics = json.loads(path.read_text())
    rankers = metrics["tables"]["catalogue"]["rankers"]
    metrics["tables"]["catalogue"]["lists"] = {
        ranker: {"coverage@10": {"mean": 0.5 + 0.01 * i}, "novelty@10": {"mean": 6.25, "low": 6.0, "high": 6.5}}
        for i, ranker in enumerate(rankers)
    }
    part = next(iter(metrics["slices"]["catalogue"].values()))
    group = next(iter(part.values()))
    metrics["slices"]["catalogue"] |= {
        "item_age": {f"{100 * i:,} to {100 * i + 99:,}": group for i in range(10)},
        "cold_items": {"met": group, "never met": group},
        "repeat_or_new": {"new": group, "repeat": group},
    }
    _write(path, metrics)
    finding = {"level": "warns", "where": "split", "what": "the evidence", "check": "leave-last-out"}
    _write(run / "evaluate" / "audit.json", {"findings": [finding | {"why": "it leaks", "remedy": "use `time`"}]})
    return run


def _two_stage(run: Path, larder: Larder) -> None:
    """The retriever's first five, reranked; a target that is not among them is missed by all."""
    queries = larder.fold("test")
    held = read_ranking(run / "rankings" / "retriever" / "catalogue.parquet")
    first = held.filter(pl.col("rank") <= 5).filter((pl.col("query") % 4 > 0) | (pl.col("rank") > 1))
    offered = first.group_by("query", maintain_order=True).agg(items=pl.col("item"), source=pl.col("ranker"))
    offered = queries.select("query").join(offered, on="query", how="left", maintain_order="left")
    write_parquet(offered, run / "rankings" / "retriever" / "test_candidates.parquet")
    sure = {"retriever": 2.2, "before": 1.0, "orpo": 2.4, "fused": 4.0}
    for name, knows in sure.items():
        ranking = rank_candidates(Knows(name, larder, knows), larder, queries, offered, seed=7)
        write_parquet(ranking, run / "rankings" / name / "two_stage.parquet")
    evaluated_again(run)


def evaluated_again(run: Path) -> None:
    """The four files of the evaluation, from the rankings that lie in the run."""
    held = read_run(run)
    evaluate(
        held.larder,
        held.rankings,
        held.candidates,
        sections.Evaluate(bootstrap=200),
        seed=7,
        out=run / "evaluate",
        arms=held.arms,
        method="last",
        untuned=["before"],
    )


def crowded(run: Path, names: list[str]) -> Path:
    """Adds language arms of these names, each a little better than the one before."""
    larder = Larder.read(run / "prepare")
    queries = larder.fold("test")
    candidates = read_table(run / "candidates" / "uniform.parquet")
    for i, name in enumerate(names):
        ranker = Knows(name, larder, 1.5 + 0.1 * i)
        folder = run / "rankings" / name
        write_parquet(rank_candidates(ranker, larder, queries, candidates, seed=7), folder / "uniform.parquet")
        write_parquet(rank_catalogue(ranker, larder, queries, 50, seed=7), folder / "catalogue.parquet")
        _write(folder / "summary.json", {"users_per_second": 20.0 + i % 4, "parameters": 1000})
    recipe = {**RECIPE, "arms": {**RECIPE["arms"], **{name: {} for name in names}}}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    evaluated_again(run)
    return run
