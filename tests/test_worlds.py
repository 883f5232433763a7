"""The cinema keeps its promises: the tests that train on it rely on them."""

from __future__ import annotations

from itertools import pairwise

import polars as pl

from tests import worlds


def test_everybody_sees_the_next_film_next():
    for (_,), seen in worlds.cinema().group_by("user"):
        assert all(worlds.next_film(a) == b for a, b in pairwise(seen.sort("time")["item"]))


def test_nobody_sees_a_film_twice_and_no_two_moments_are_the_same():
    world = worlds.cinema()
    assert not world.select("user", "item").is_duplicated().any()
    assert not world["time"].is_duplicated().any()


def test_popularity_is_a_poor_guess():
    counts = worlds.cinema().group_by("item").len()["len"]
    assert counts.max() <= 1.5 * counts.mean()


def test_every_last_step_was_taken_earlier_by_somebody_else():
    """So that a ranker which learns steps from training prefixes can know every answer."""
    steps = worlds.cinema().sort("time").with_columns(pl.col("item").shift(1).over("user").alias("before"))
    steps = steps.with_columns(pl.int_range(pl.len()).over("user").alias("place")).drop_nulls("before")
    known = steps.filter(pl.col("place") < worlds.WATCHED - 2).select("before", "item").unique()
    last = steps.filter(pl.col("place") >= worlds.WATCHED - 2)
    assert last.join(known, on=["before", "item"], how="anti").is_empty()


def test_titles_tell_films_apart():
    assert len(set(worlds.item_texts().values())) == 60
