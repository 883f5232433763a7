"""How long a ranker takes to answer: one user at a time, and many at once.

The same for every ranker: from a query to the first k of the catalogue (of its candidates, where it can only rank
those), prompts and all, on the machine and with the threads of the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from llmrec.rng import rng_for

Answering = Callable[[pl.DataFrame], object]
"""Ranks some queries, given all at once."""
MOST = 100  # queries asked one at a time
SIZES = (4, 16, 64, 256, 1024)
SLOWER = 0.7  # a batch so much slower than the best is no accident: larger ones are not tried
LEAST = 5  # answers without which a median says nothing, whatever they take


def speed(
    answer: Answering,
    queries: pl.DataFrame,
    *,
    seed: int,
    seconds: float = 5.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """{"latency_ms": {"p50", "p99", "queries"}, "best_batch": {"size", "users_per_second"}}, within about `seconds`.

    Queries are drawn by the seed. The first answer warms up and does not count. Batches, which a ranker may cut to what
    its machine can hold, grow until one answers far fewer users a second than the best. No queries give nothing.
    """
    if not queries.height:
        return {}
    order = rng_for(seed, "speed").permutation(queries.height)
    drawn = queries[order.tolist()]
    answer(drawn[:1])

    def timed(some: pl.DataFrame) -> float:
        start = clock()
        answer(some)
        return clock() - start

    took: list[float] = []
    began = clock()
    for n in range(min(MOST, drawn.height)):
        took.append(timed(drawn[n : n + 1]))
        if len(took) >= LEAST and clock() - began > seconds / 2:
            break
    p50, p99 = np.quantile(took, [0.5, 0.99])
    best, rate = 1, len(took) / sum(took)
    for size in SIZES:
        ahead = min(size, drawn.height) / rate  # what it takes if it is no better
        if size > drawn.height or clock() - began + ahead > 2 * seconds:
            break
        now = size / timed(drawn[:size])
        if now > rate:
            best, rate = size, now
        elif now < SLOWER * rate:
            break
    return {
        "latency_ms": {"p50": _figures(1000 * p50), "p99": _figures(1000 * p99), "queries": len(took)},
        "best_batch": {"size": best, "users_per_second": _figures(rate)},
    }


def _figures(number: float) -> float:
    """Three figures: more would be noise."""
    return float(f"{number:.3g}")
