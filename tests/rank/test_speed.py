"""How long answers take, one at a time and many at once, by a clock that only answers move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from llmrec.rank.speed import speed

QUERIES = pl.DataFrame({"query": range(40)})


class Clock:
    """Seconds that pass while a ranker answers, and at no other time."""

    def __init__(self, takes: Callable[[int], float]) -> None:
        self.now, self.takes, self.asked = 0.0, takes, list[int]()

    def answer(self, queries: pl.DataFrame) -> None:
        self.asked.append(queries.height)
        self.now += self.takes(queries.height)

    def speed(self, seconds: float = 5.0) -> dict[str, Any]:
        return speed(self.answer, QUERIES, seed=7, seconds=seconds, clock=lambda: self.now)


def test_a_ranker_that_answers_many_as_fast_as_one_is_best_in_large_batches() -> None:
    clock = Clock(lambda count: 0.002)
    assert clock.speed() == {
        "latency_ms": {"p50": 2.0, "p99": 2.0, "queries": 40},
        "best_batch": {"size": 16, "users_per_second": 8000.0},  # the next size is more than there are
    }
    assert clock.asked == [1] * 41 + [4, 16]  # the first warms up


def test_a_ranker_that_gains_nothing_from_batches_is_asked_one_by_one() -> None:
    clock = Clock(lambda count: 0.003 * count**1.5)
    assert clock.speed()["best_batch"] == {"size": 1, "users_per_second": 333.0}
    assert clock.asked[41:] == [4]


def test_a_slow_answer_now_and_then_shows_in_p99() -> None:
    clock = Clock(lambda count: 0.1 if len(clock.asked) == 7 else 0.01)
    said = clock.speed()["latency_ms"]
    assert said["p50"] == 10
    assert said["p99"] > 50


def test_a_slow_ranker_is_not_asked_for_long() -> None:
    clock = Clock(lambda count: 3.0 * count)
    assert clock.speed()["latency_ms"]["queries"] == 5
    assert clock.asked == [1] * 6  # a batch of four would take longer than there is


def test_nobody_asked_takes_no_time() -> None:
    assert speed(lambda queries: 1 / 0, QUERIES.head(0), seed=7) == {}
