"""What one more event costs, and what one look through a large catalogue costs: single queries on one thread.

    python benchmarks/retriever_step.py [--events 3000] [--items 12000] [--history 200] [--k 10]
        [--catalogue 1000000] [--width 64] [--first 100] [--rounds 31]

`step`: a user of `history` items does one thing more; the retriever, with the settings that recipes have by default,
goes on from its state and gives the exact first `k` of `items` items, those seen left out. Percentiles are of single
events, ten users one after another; those of `cpu` leave out the time that other processes held the core. Weights are
as drawn: fitted ones take as long.

`topk`: the exact first `first` of `catalogue` items for one vector, in turns with two plain passes over the same bytes,
their sum and their product with the vector. `topk_vs_bandwidth` is its median over that of the faster pass; `topk_many`
is the same for 64 vectors at once against torch.topk of their scores with all items. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.model import Retriever
from llmrec.retriever.topk import topk

USERS, MANY = 10, 64


def milliseconds(job: Callable[[], Any]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    job()
    return 1e3 * (time.perf_counter() - began)


def stepped(items: int, history: int, events: int, k: int) -> dict[str, float]:
    """Percentiles over events, of both halves together and the medians of each."""
    torch.manual_seed(0)
    model = Retriever(items, Section()).eval()
    rng = np.random.default_rng(0)
    taken: list[tuple[float, float, float]] = []
    for user in range(USERS + 1):
        state = model.state([rng.integers(0, items, history)])
        for item in rng.integers(0, items, events // USERS).tolist():
            began, busy = time.perf_counter(), time.thread_time()
            state = model.follow(state, [item])
            followed = time.perf_counter()
            model.best_from(state, k)
            done, worked = time.perf_counter(), time.thread_time()
            if user:  # the first warms
                taken.append((followed - began, done - followed, worked - busy))
    follow, best, work = 1e3 * np.array(taken).T
    return {
        "step_p50_ms": float(np.quantile(follow + best, 0.5)),
        "step_p99_ms": float(np.quantile(follow + best, 0.99)),
        "step_cpu_p50_ms": float(np.quantile(work, 0.5)),
        "step_cpu_p99_ms": float(np.quantile(work, 0.99)),
        "follow_p50_ms": float(np.quantile(follow, 0.5)),
        "best_p50_ms": float(np.quantile(best, 0.5)),
    }


def raced(jobs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Each job's median milliseconds; they take turns, so that a busy machine slows all of them."""
    for job in jobs.values():
        job()
    taken = [[milliseconds(job) for job in jobs.values()] for _ in range(rounds)]
    return {name: statistics.median(times) for name, times in zip(jobs, zip(*taken, strict=True), strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in [("events", 3000), ("items", 12_000), ("history", 200), ("k", 10), ("catalogue", 1_000_000),
                          ("width", 64), ("first", 100), ("rounds", 31)]:  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(1)

    step = stepped(asked.items, asked.history, asked.events, asked.k)
    print(
        f"one event and the first {asked.k} of {asked.items:,}: median {step['step_p50_ms']:.3f} ms (following "
        f"{step['follow_p50_ms']:.3f}, searching {step['best_p50_ms']:.3f}), p99 {step['step_p99_ms']:.3f} ms; "
        f"on the core {step['step_cpu_p50_ms']:.3f} and {step['step_cpu_p99_ms']:.3f} ms"
    )

    draw = torch.Generator().manual_seed(0)
    items = torch.randn(asked.catalogue, asked.width, generator=draw)
    vectors = torch.randn(MANY, asked.width, generator=draw)
    passes = raced(
        {
            "topk_ms": lambda: topk(vectors[:1], items, asked.first),
            "sum_ms": lambda: items.sum(),
            "product_ms": lambda: items @ vectors[0],
        },
        asked.rounds,
    )
    many = raced(
        {
            "topk_many_ms": lambda: topk(vectors, items, asked.first),
            "torch_topk_many_ms": lambda: (vectors @ items.T).topk(asked.first),
        },
        max(1, asked.rounds // 10),
    )
    found = topk(vectors[:1], items, asked.first)
    whole = (items @ vectors[0]).topk(asked.first)
    assert sorted(found.items[: asked.first].tolist()) == sorted(whole.indices.tolist())
    ratio = passes["topk_ms"] / min(passes["sum_ms"], passes["product_ms"])
    print(
        f"the first {asked.first} of {asked.catalogue:,} x {asked.width}: {passes['topk_ms']:.2f} ms, {ratio:.2f} "
        f"times a plain pass (sum {passes['sum_ms']:.2f}, product {passes['product_ms']:.2f}); {MANY} vectors at once "
        f"{many['topk_many_ms']:.0f} ms, torch.topk of all scores {many['torch_topk_many_ms']:.0f}"
    )
    report = {
        "step_p50_ms": step.pop("step_p50_ms"),
        "step_p99_ms": step.pop("step_p99_ms"),
        "topk_vs_bandwidth": ratio,
        **step,
        **passes,
        **many,
    }
    print(
        json.dumps({
            **{name: round(value, 4) for name, value in report.items()},
            **vars(asked),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
