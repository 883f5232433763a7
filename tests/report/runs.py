"""A finished run over the cinema whose models never ran: rankers that know the next film to a degree that we choose."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from llmrec.candidates.uniform import uniform
from llmrec.columns import KEY
from llmrec.data.larder import Larder, prepare
from llmrec.evaluate.evaluate import evaluate
from llmrec.rank.floors import FLOORS
from llmrec.rank.scorer import Scorer, rank_candidates, rank_catalogue
from llmrec.ranking import write_parquet
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
