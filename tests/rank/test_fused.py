"""Two rankers as one: who leads at which weight, and what is refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.errors import RankingFault
from llmrec.rank.fused import chosen_weight, fused, mean_metric
from llmrec.ranking import QUERIES_SCHEMA, checked_ranking, ranked


def said(ranker: str, *lists: list[float]) -> pl.DataFrame:
    """A ranking of items 0, 1, ... with these scores, one list a query."""
    query = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    item = np.concatenate([np.arange(len(one)) for one in lists])
    return ranked(query, item, np.concatenate(lists), ranker=ranker, seed=7)


def asked(*targets: int) -> pl.DataFrame:
    """A query for each target."""
    rows = {"query": range(len(targets)), "user": range(len(targets)), "position": 1, "time": None}
    return pl.DataFrame({**rows, "target": list(targets), "fold": "valid"}, schema=QUERIES_SCHEMA)


def orders(ranking: pl.DataFrame) -> list[list[int]]:
    return [one["item"].to_list() for one in ranking.sort("query", "rank").partition_by("query", maintain_order=True)]


LANGUAGE = said("language", [3, 2, 1, 0], [-100, -400, -300, -200])
RETRIEVER = said("retriever", [0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.1, 0.2])


@pytest.mark.parametrize(("weight", "side"), [(1.0, LANGUAGE), (0.0, RETRIEVER)])
def test_with_all_the_weight_a_side_has_its_own_order(weight: float, side: pl.DataFrame) -> None:
    assert orders(fused(LANGUAGE, RETRIEVER, weight, seed=7)) == orders(side)


def test_what_comes_out_is_a_ranking_of_its_own_name() -> None:
    mixed = checked_ranking(fused(LANGUAGE, RETRIEVER, 0.5, seed=7))
    assert mixed["ranker"].unique().to_list() == ["fused"]
    assert mixed.height == LANGUAGE.height


def test_scales_do_not_count() -> None:
    """Log-probabilities in the hundreds and inner products below one are standardised within each query."""
    louder = LANGUAGE.with_columns(pl.col("score") * 1000 - 5)
    quiet, loud = (fused(side, RETRIEVER, 0.4, seed=7) for side in (LANGUAGE, louder))
    assert quiet["item"].to_list() == loud["item"].to_list()
    assert quiet["score"].to_list() == pytest.approx(loud["score"].to_list(), abs=1e-4)


def test_the_mix_by_hand() -> None:
    # Standardised, 3 2 1 is 1.2247 0 -1.2247, and 0 0 3 is -0.7071 -0.7071 1.4142.
    mixed = fused(said("a", [3, 2, 1]), said("b", [0, 0, 3]), 0.25, seed=7).sort("item")
    expected = [0.25 * a + 0.75 * b for a, b in zip([1.22474, 0, -1.22474], [-0.70711, -0.70711, 1.41421], strict=True)]
    assert mixed["score"].to_list() == pytest.approx(expected, abs=1e-4)


def test_a_list_that_says_nothing_leaves_the_order_to_the_other() -> None:
    flat = said("language", [-7, -7, -7, -7], [-7, -7, -7, -7])
    assert orders(fused(flat, RETRIEVER, 0.95, seed=7)) == orders(RETRIEVER)
    assert np.isfinite(fused(flat, flat, 0.5, seed=7)["score"].to_numpy()).all()


@pytest.mark.parametrize("side", [0, 1])
def test_an_item_that_only_one_side_ranks_is_refused_with_its_place(side: int) -> None:
    sides = [LANGUAGE, RETRIEVER]
    sides[side] = sides[side].filter(~((pl.col("query") == 1) & (pl.col("item") == 2)))
    with pytest.raises(RankingFault, match="fused: query 1, item 2 is ranked by only one of the two sides"):
        fused(sides[0], sides[1], 0.5, seed=7)


def test_the_weight_goes_to_the_side_that_knows() -> None:
    knows, errs = said("a", *[[0.0, 1, 2, 3]] * 6), said("b", *[[3.0, 2, 1, 0]] * 6)
    right = asked(*[3] * 6)
    assert chosen_weight(knows, errs, right, "hit@1", seed=7)[0] > 0.5
    assert chosen_weight(errs, knows, right, "hit@1", seed=7)[0] < 0.5


def test_two_halves_that_know_different_users_are_better_together() -> None:
    """One side is sure of half of the targets and nearly silent on the rest, the other the other way round."""
    sure, silent = [0.0, 0.0, 9.0], [1.0, 0.0, 0.9]
    a, b = said("a", *[sure, silent] * 4), said("b", *[silent, sure] * 4)
    right = asked(*[2] * 8)
    weight, values = chosen_weight(a, b, right, "hit@1", seed=7)
    assert values[0.0] == values[1.0] == 0.5
    assert values[weight] == 1.0
    assert weight == 0.5


def test_equal_weights_lean_on_neither_side() -> None:
    weight, values = chosen_weight(LANGUAGE, LANGUAGE, asked(0, 0), "ndcg@10", seed=7)
    assert weight == 0.5
    assert set(values.values()) == {1.0}
    assert len(values) == 21


def test_a_target_that_is_not_listed_is_a_miss_in_the_mean() -> None:
    assert mean_metric(LANGUAGE, asked(0, 9), "hit@1") == 0.5
    assert mean_metric(LANGUAGE, asked(1, 3), "mrr@10") == 0.5
