"""How long answers take, one at a time and many at once."""

from __future__ import annotations

import time

import polars as pl

from llmrec.rank.speed import speed

QUERIES = pl.DataFrame({"query": range(40)})


def test_a_ranker_that_answers_a_batch_as_fast_as_one_is_best_in_large_batches() -> None:
    asked: list[int] = []

    def answer(queries: pl.DataFrame) -> None:
        asked.append(queries.height)
        time.sleep(0.002)

    said = speed(answer, QUERIES, seed=7, seconds=5)
    assert said["latency_ms"]["queries"] == 40
    assert 2 <= said["latency_ms"]["p50"] <= said["latency_ms"]["p99"]
    assert said["best_batch"]["size"] == 16  # the next size is more than there are
    assert asked.count(1) == 41  # the first warms up


def test_a_ranker_that_gains_nothing_from_batches_is_asked_one_by_one() -> None:
    said = speed(lambda queries: time.sleep(0.003 * queries.height**1.5), QUERIES, seed=7)
    assert said["best_batch"]["size"] == 1


def test_a_slow_ranker_is_not_asked_for_long() -> None:
    began = time.monotonic()
    said = speed(lambda queries: time.sleep(0.05 * queries.height), QUERIES, seed=7, seconds=0.2)
    assert said["latency_ms"]["queries"] == 5
    assert time.monotonic() - began < 1.5


def test_nobody_asked_takes_no_time() -> None:
    assert speed(lambda queries: 1 / 0, QUERIES.head(0), seed=7) == {}
