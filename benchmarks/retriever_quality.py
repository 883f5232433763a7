"""How well the retriever ranks the whole catalogue, on the files and by the protocol of published tables.

    python benchmarks/retriever_quality.py --dataset ml-1m|beauty|ml-latest-small
        [--protocol sasrec-loo|recbole-loo] [--seeds 3] [--data ../shared/data] [--out DIR] [--valid-only]
        [key=value ...]

Each user's last item is the test target, the one before it the validation target, and what came before is fitted on.
`sasrec-loo` ranks all items but those of the user's history, `recbole-loo` those too (docs/protocols.md). The weights
are those of the best epoch on validation, seen items left out in both; test is asked once, after that. `key=value`
changes a setting of the retriever. With `--valid-only` test is not looked at: that is how settings are chosen. Fits are
checkpointed under `--out` and go on from there.

The other side is the window of decayed transitions (`llmrec.rank.floors.Transitions`), which learns nothing. The last
line is one JSON object; with several seeds its metrics are means, and `of_seeds` has each.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from llmrec.metrics import hit, mrr, ndcg
from llmrec.rank.floors import Transitions
from llmrec.recipe.presets import PRESETS
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.fit import Asked, fit, places

K = 10
SETTINGS: dict[str, dict[str, Any]] = {  # chosen on validation; docs/log.md has what else was tried
    "ml-1m": {"batch_size": 64, "learning_rate": 4e-3, "epochs": 20, "patience": 6},
    "beauty": {
        "d_model": 128, "dropout": 0.5, "max_length": 50, "batch_size": 128, "learning_rate": 2e-3, "epochs": 15,
        "patience": 6, "horizon": 3,
    },
    "ml-latest-small": {"dropout": 0.3, "weight_decay": 0.5, "epochs": 12, "patience": 12, "horizon": 3},
}  # fmt: skip


def pairs(path: Path) -> pl.Series:
    """SASRec's file: `user item` a line, in order."""
    lines = pl.read_csv(path, separator=" ", has_header=False, new_columns=["user", "item"])
    return lines.group_by("user", maintain_order=True).agg("item")["item"]


def lists(path: Path) -> pl.Series:
    """S3-Rec's file: `user item item ...` a line."""
    return pl.Series([[int(item) for item in line.split()[1:]] for line in path.read_text().splitlines()])


def five_core(path: Path) -> pl.Series:
    """MovieLens' ratings, in order of time, without users and films that have fewer than five, again and again."""
    rated = pl.read_csv(path).sort("userId", "timestamp", maintain_order=True)
    while True:
        kept = rated.filter(pl.len().over("userId") >= 5).filter(pl.len().over("movieId") >= 5)
        if kept.height == rated.height:
            return kept.group_by("userId", maintain_order=True).agg("movieId")["movieId"]
        rated = kept


DATASETS: dict[str, tuple[str, Callable[[Path], pl.Series]]] = {
    "ml-1m": ("ml-1m/ml-1m_sas.txt", pairs),
    "beauty": ("amazon-beauty/Beauty_s3rec.txt", lists),
    "ml-latest-small": ("ml-latest-small/ratings.csv", five_core),
}


def histories(dataset: str, data: Path) -> tuple[list[np.ndarray], int]:
    """Each user's items as codes from 0, oldest first, and how many items there are."""
    file, read = DATASETS[dataset]
    found = read(data / file)
    items, codes = np.unique(found.explode().to_numpy(), return_inverse=True)
    return np.split(codes, found.list.len().to_numpy().cumsum()[:-1]), len(items)


def judged(score: Callable[..., np.ndarray], asked: Asked, protocol: str) -> dict[str, float]:
    """HR, NDCG and MRR at 10 of the targets among all items that the protocol ranks; ties count as their mean place."""
    where = places(score, asked, masked=PRESETS[protocol].fixed["evaluate"]["seen"] == "masked")
    return {f"{name}@{K}": float(gain(*where, K).mean()) for name, gain in (("hr", hit), ("ndcg", ndcg), ("mrr", mrr))}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--dataset", choices=DATASETS, required=True)
    ask.add_argument("--protocol", choices=["sasrec-loo", "recbole-loo"], default="sasrec-loo")
    ask.add_argument("--data", type=Path, default=Path("../shared/data"))
    ask.add_argument("--seeds", type=int, default=1)
    ask.add_argument("--seed", type=int, default=7, help="the first")
    ask.add_argument("--out", type=Path, default=Path("runs/retriever_quality"))
    ask.add_argument("--valid-only", action="store_true")
    ask.add_argument("settings", nargs="*", metavar="key=value")
    args = ask.parse_args()
    chosen = {**SETTINGS[args.dataset], **dict(pair.split("=", 1) for pair in args.settings)}
    section = Section.model_validate({k: json.loads(v) if v in ("true", "null") else v for k, v in chosen.items()})
    whole, n_items = histories(args.dataset, args.data)
    training = [items[:-2] for items in whole]
    held = Asked(training, np.array([items[-2] for items in whole]))
    test = Asked([items[:-1] for items in whole], np.array([items[-1] for items in whole]))
    print(f"{args.dataset}: {len(whole):,} users, {n_items:,} items, {sum(map(len, whole)):,} interactions", flush=True)
    print(f"settings: {json.dumps(chosen)}", flush=True)
    found: list[dict[str, Any]] = []
    for seed in range(args.seed, args.seed + args.seeds):
        name = "-".join([args.dataset, *args.settings, str(seed)]).replace("/", "_")
        out = args.out / name
        out.mkdir(parents=True, exist_ok=True)
        model = fit(training, n_items, section, valid=held, seed=seed, out=out)
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        best = max(log, key=lambda line: line["ndcg@10"])
        one = {
            **({} if args.valid_only else judged(model.scores, test, args.protocol)),
            "valid_ndcg@10": best["ndcg@10"],
            "epochs": len(log),
            "best_epoch": best["epoch"],
            "seconds": round(sum(line["seconds"] for line in log), 1),
            "seconds_to_best": round(sum(line["seconds"] for line in log[: best["epoch"]]), 1),
            "parameters": sum(weight.numel() for weight in model.parameters()),
        }
        print(f"seed {seed}: {json.dumps(one)}", flush=True)
        found.append(one)
    floor = Transitions.count(training, n_items)
    answer = {key: round(statistics.fmean(one[key] for one in found), 5) for key in found[0]}
    of_floor = judged(floor.scores, held if args.valid_only else test, args.protocol)
    answer |= {f"floor_{key}": round(value, 5) for key, value in of_floor.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    answer |= {"dataset": args.dataset, "protocol": args.protocol, "seeds": args.seeds, "peak_rss_gb": round(peak, 2)}
    answer |= {"threads": torch.get_num_threads(), "of_seeds": found}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
