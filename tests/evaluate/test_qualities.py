"""What lists look like, in a shop of six films whose numbers can be worked out by hand."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from llmrec.data.larder import Larder
from llmrec.evaluate.attribute import MOST, Attribute
from llmrec.evaluate.qualities import SMOOTHING, qualities
from llmrec.ranking import QUERIES_SCHEMA

GENRES = ["Action", "Action, Comedy", "Comedy", "Drama", None, "Drama|Comedy"]
COUNTS = [8, 4, 2, 1, 1, 0]


def shop(genres: list[str | None] | None = GENRES, histories: list[list[int]] | None = None) -> Larder:
    """Ann saw films 0 and 1, Ben film 3; each asks for one more."""
    histories = histories or [[0, 1], [3]]
    users = range(len(histories))
    catalogue = pl.DataFrame(
        {"item": range(6), "key": [f"f{i}" for i in range(6)], "text": ["film"] * 6, "count": COUNTS},
        schema_overrides={"item": pl.Int32},
    )
    queries = pl.DataFrame(
        {
            "query": [10 + user for user in users],
            "user": users,
            "position": [len(history) for history in histories],
            "time": [None for _ in users],
            "target": [5 for _ in users],
            "fold": ["test" for _ in users],
        },
        schema=QUERIES_SCHEMA,
    )
    table = pl.DataFrame(
        {"user": users, "items": [[*history, 5] for history in histories], "times": None, "train": 1},
        schema={"user": pl.Int32, "items": pl.List(pl.Int32), "times": pl.List(pl.Int64), "train": pl.Int32},
    )
    names = pl.DataFrame({"user": users, "key": [str(user) for user in users]})
    return Larder(table, catalogue.with_columns(genres=pl.Series(genres)) if genres else catalogue, queries, names)


def shown(*tops: list[int]) -> pl.DataFrame:
    """A ranking that lists these films, best first, for query 10, 11, ..."""
    rows = [(10 + row, item, rank) for row, top in enumerate(tops) for rank, item in enumerate(top, start=1)]
    table = pl.DataFrame(rows, schema={"query": pl.Int64, "item": pl.Int32, "rank": pl.Int32}, orient="row")
    return table.with_columns(score=-pl.col("rank").cast(pl.Float32))


def of(*tops: list[int], at: list[int], larder: Larder | None = None) -> dict[str, float]:
    larder = larder or shop()
    found = qualities({"me": [shown(*tops)]}, larder, larder.queries, at, count=200, seed=7)["me"]
    return {name: value["mean"] for name, value in found.items()}


def values(item: int) -> set[str]:
    return set((GENRES[item] or "?").replace("|", ", ").split(", "))


def apart(top: list[int]) -> float:
    pairs = [(values(a), values(b)) for a, b in combinations(top, 2)]
    return float(np.mean([1 - len(a & b) / len(a | b) for a, b in pairs]))


def mixture(items: list[int]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for item in items:
        for value in values(item):
            total[value] += 1 / len(values(item)) / len(items)
    return total


def divergence(history: list[int], top: list[int]) -> float:
    wanted, given = mixture(history), mixture(top)
    return sum(
        p * np.log(p / ((1 - SMOOTHING) * given.get(value, 0) + SMOOTHING * p)) for value, p in wanted.items() if p
    )


def test_coverage_is_the_share_of_the_catalogue_that_anyone_is_shown():
    found = of([2, 3, 4], [2, 0, 3], at=[1, 3])
    assert found["coverage@1"] == 1 / 6
    assert found["coverage@3"] == 4 / 6


def test_gini_is_0_where_all_are_shown_alike_and_near_1_where_one_takes_all():
    assert of([0, 1, 2], [3, 4, 5], at=[3])["gini@3"] == pytest.approx(0)
    assert of([0], [0], at=[1])["gini@1"] == pytest.approx(1 - 1 / 6)


def test_gini_is_the_mean_difference_between_items_over_twice_the_mean():
    counts = np.array([2, 1, 1, 1, 1, 0])
    wanted = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert of([0, 1, 2], [0, 3, 4], at=[3])["gini@3"] == pytest.approx(wanted)


def test_novelty_is_the_bits_that_an_item_takes_to_name():
    found = of([0, 1, 2], [3, 4, 5], at=[1, 3])
    assert found["novelty@1"] == pytest.approx((1 + 4) / 2)
    assert found["novelty@3"] == pytest.approx(((1 + 2 + 3) / 3 + 4) / 2)  # film 5, never met, counts as met once


def test_diversity_is_how_little_pairs_of_a_list_share():
    tops = [0, 1, 2, 5], [3, 4, 5, 1]
    found = of(*tops, at=[1, 2, 4])
    assert "diversity@1" not in found
    for k in (2, 4):
        assert found[f"diversity@{k}"] == pytest.approx(np.mean([apart(top[:k]) for top in tops]))


def test_calibration_is_steck_s_divergence_from_the_history():
    tops = [0, 1, 2, 5], [3, 4, 5, 1]
    found = of(*tops, at=[1, 2, 4])
    for k in (1, 2, 4):
        wanted = np.mean([divergence([0, 1], tops[0][:k]), divergence([3], tops[1][:k])])
        assert found[f"calibration@{k}"] == pytest.approx(wanted)


def test_a_list_with_the_history_s_mixture_is_calibrated_and_one_that_shares_nothing_is_not():
    assert of([0, 1], [3, 0], at=[2])["calibration@2"] > 0
    assert of([0, 1], [3], at=[2])["calibration@2"] == pytest.approx(0)
    assert of([3, 4], [0, 1], at=[2])["calibration@2"] == pytest.approx(np.log(1 / SMOOTHING))


def test_nobody_s_history_asks_for_no_mixture():
    larder = shop(histories=[[], [3]])
    assert of([0, 1], [3], at=[2], larder=larder)["calibration@2"] == pytest.approx(0)


def test_repeats_are_what_the_history_already_holds():
    found = of([1, 2, 0, 4], [0, 3, 4, 5], at=[1, 2, 4])
    assert found["repeats@1"] == (1 + 0) / 2
    assert found["repeats@2"] == (1 / 2 + 1 / 2) / 2
    assert found["repeats@4"] == (2 / 4 + 1 / 4) / 2


def test_a_list_that_is_too_short_is_measured_on_what_it_lists():
    found = of([0, 2], [3, 4, 5, 1], at=[4])
    assert found["diversity@4"] == pytest.approx((apart([0, 2]) + apart([3, 4, 5, 1])) / 2)
    assert found["repeats@4"] == (1 / 2 + 1 / 4) / 2


def test_codes_that_no_catalogue_has_are_no_items():
    larder = shop()
    strange = pl.concat([shown([0, 1], [3, 4]), shown([0, 1], [3, 4]).with_columns(item=pl.lit(-1, pl.Int32), rank=3)])
    found = qualities({"me": [strange.cast({"rank": pl.Int32})]}, larder, larder.queries, [3], count=200, seed=7)["me"]
    assert found["coverage@3"]["mean"] == 4 / 6


@pytest.mark.parametrize("genres", [None, ["Action"] * 6])
def test_without_an_attribute_there_is_neither_diversity_nor_calibration(genres: list[str | None] | None):
    found = of([0, 1], [3, 4], at=[2], larder=shop(genres))
    assert {name.partition("@")[0] for name in found} == {"coverage", "gini", "novelty", "repeats"}


def test_an_attribute_of_too_many_values_tells_nothing():
    many = [", ".join(str(n) for n in range(i, MOST + 1, 6)) for i in range(6)]
    assert Attribute.of(shop(list(many))) is None


def test_means_over_queries_have_an_interval_and_facts_of_all_users_have_none():
    larder = shop()
    found = qualities({"me": [shown([0, 1], [3, 4])]}, larder, larder.queries, [2], count=200, seed=7)["me"]
    assert set(found["coverage@2"]) == set(found["gini@2"]) == {"mean"}
    assert found["repeats@2"] == {"mean": 0.75, "low": 0.5, "high": 1.0}


def test_training_seeds_are_averaged():
    larder = shop()
    seeds = [shown([0, 1], [3, 4]), shown([2, 4], [0, 1])]
    found = qualities({"me": seeds}, larder, larder.queries, [2], count=200, seed=7)["me"]
    assert found["coverage@2"]["mean"] == 4 / 6
    assert found["repeats@2"]["mean"] == (0.75 + 0) / 2
