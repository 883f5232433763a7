"""The ranking table: its order, its ties, and what it refuses."""

from __future__ import annotations

from itertools import pairwise, permutations, product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrec import metrics
from llmrec.errors import RankingFault
from llmrec.ranking import checked_queries, checked_ranking, places, ranked, read_ranking, write_parquet


def asked(*targets: int) -> pl.DataFrame:
    """One query a user, for these targets."""
    n = len(targets)
    return checked_queries(pl.DataFrame({"query": range(n), "user": range(n), "target": targets, "fold": ["test"] * n}))


def scored(scores: dict[int, float], query: int = 0, seed: int = 7) -> pl.DataFrame:
    """A ranking of one query, item -> score."""
    items = np.array(list(scores), dtype=np.int32)
    return ranked(np.full(len(items), query), items, np.array(list(scores.values())), ranker="critic", seed=seed)


def test_the_highest_score_comes_first() -> None:
    ranking = scored({10: 0.1, 11: 0.9, 12: 0.5})
    assert ranking["item"].to_list() == [11, 12, 10]
    assert ranking["rank"].to_list() == [1, 2, 3]


def test_each_query_starts_again_at_rank_one() -> None:
    ranking = ranked(np.array([4, 2, 4, 2]), np.array([1, 1, 2, 2]), np.array([0, 1, 2, 3]), ranker="critic", seed=7)
    assert ranking.select("query", "item", "rank").rows() == [(2, 2, 1), (2, 1, 2), (4, 2, 1), (4, 1, 2)]


def test_equal_scores_stand_in_an_order_that_luck_decides_not_the_list() -> None:
    first = [scored({10: 0.0, 11: 0.0, 12: 0.0}, seed=seed)["item"][0] for seed in range(300)]
    assert [first.count(item) / 300 for item in (10, 11, 12)] == pytest.approx([1 / 3] * 3, abs=0.1)


def test_the_same_seed_gives_the_same_order() -> None:
    flat = dict.fromkeys(range(50), 0.0)
    assert scored(flat, seed=3).equals(scored(flat, seed=3))
    assert not scored(flat, seed=3).equals(scored(flat, seed=4))


def test_no_scores_give_an_empty_ranking() -> None:
    nothing = np.empty(0)
    assert ranked(nothing.astype(int), nothing.astype(int), nothing, ranker="critic", seed=7).height == 0


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_a_number_is_refused_with_its_place(wrong: float) -> None:
    with pytest.raises(RankingFault, match="critic: 1 scores are not finite, first for query 3, item 11"):
        scored({10: 0.0, 11: wrong}, query=3)


def test_a_target_stands_below_those_that_score_higher_and_ties_with_its_equals() -> None:
    stood = places(scored({10: 3.0, 11: 2.0, 12: 2.0, 13: 2.0, 14: 1.0}), asked(12))
    assert stood.select("above", "tied").row(0) == (1, 3)


def test_a_target_that_is_not_listed_has_no_place() -> None:
    assert places(scored({10: 3.0, 11: 2.0}), asked(99)).select("above", "tied").row(0) == (None, None)


def test_places_keep_the_order_of_the_queries() -> None:
    ranking = pl.concat([scored({10: 1.0, 11: 0.0}, query=query) for query in (0, 1, 2)])
    queries = asked(11, 10, 99)[[2, 0, 1]]
    assert places(ranking, queries).select("query", "above").rows() == [(2, None), (0, 1), (1, 0)]


def test_a_query_may_have_several_targets_each_in_a_row() -> None:
    queries = pl.DataFrame({"query": [1, 0, 1, 1], "target": [12, 10, 99, 10]})
    ranking = pl.concat([scored({10: 1.0, 11: 1.0, 12: 0.0}, query=query) for query in (0, 1)])
    assert places(ranking, queries).select("above", "tied").rows() == [(2, 1), (0, 2), (None, None), (0, 2)]


def test_places_do_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    ranking = pl.concat(
        [scored(dict(enumerate(rng.integers(0, 5, 30).astype(float))), query=query) for query in range(40)]
    )
    queries = asked(*rng.integers(0, 35, 40).tolist())
    shuffled = ranking[rng.permutation(ranking.height)]
    assert places(shuffled, queries).equals(places(ranking, queries))
    assert places(ranking, queries)["above"].null_count() > 0


def test_lists_of_queries_that_nobody_asked_are_passed_over() -> None:
    ranking = pl.concat([scored({10: 1.0, 11: 0.0}, query=query) for query in (0, 1, 5, 9)])
    queries = asked(11, 10).with_columns(query=pl.Series([5, 7]))
    assert places(ranking, queries).select("above", "tied").rows() == [(1, 1), (None, None)]


def test_a_file_is_read_a_part_at_a_time(tmp_path: Path) -> None:
    """Row groups of seven rows cut lists of five in two."""
    rng = np.random.default_rng(0)
    ranking = pl.concat(
        [scored(dict(enumerate(rng.integers(0, 3, 5).astype(float))), query=query) for query in range(50)]
    )
    ranking.write_parquet(tmp_path / "critic.parquet", row_group_size=7)
    queries = asked(*rng.integers(0, 5, 50).tolist())
    assert places(pl.scan_parquet(tmp_path / "critic.parquet"), queries).equals(places(ranking, queries))


def test_nothing_ranked_and_nobody_asked_have_no_places() -> None:
    assert places(scored({10: 1.0}).clear(), asked(10)).select("above", "tied").rows() == [(None, None)]
    assert places(scored({10: 1.0}), asked(10).clear()).height == 0


def test_places_of_tied_scores_measure_the_mean_over_every_order() -> None:
    items = [10, 11, 12, 13]
    for scores in product((0.0, 1.0, 2.0), repeat=4):
        by_item = dict(zip(items, scores, strict=True))
        orders = [order for order in permutations(items) if all(by_item[a] >= by_item[b] for a, b in pairwise(order))]
        mean = np.mean([order.index(11) < 2 for order in orders])
        stood = places(scored(by_item), asked(11))
        assert metrics.hit(stood["above"], stood["tied"], 2)[0] == pytest.approx(mean)


def test_a_ranking_that_lists_an_item_twice_is_refused() -> None:
    twice = pl.concat([scored({10: 1.0, 11: 0.0}), scored({10: 0.5})])
    with pytest.raises(RankingFault, match="query 0 lists item 10 more than once"):
        checked_ranking(twice)


def test_a_file_holds_one_ranker() -> None:
    other = scored({12: 1.0}).with_columns(ranker=pl.lit("baker"))
    with pytest.raises(RankingFault, match="one file holds one ranker; found baker, critic"):
        checked_ranking(pl.concat([scored({10: 1.0}), other]))


def test_a_missing_column_is_named_with_those_that_were_found() -> None:
    with pytest.raises(RankingFault, match="ranking: column score missing; found query, item, rank, ranker"):
        checked_ranking(scored({10: 1.0}).drop("score"))


def test_an_empty_value_is_refused() -> None:
    with pytest.raises(RankingFault, match="column item has 1 empty values"):
        checked_ranking(scored({10: 1.0}).with_columns(item=pl.lit(None, pl.Int32)))


def test_a_query_is_asked_once() -> None:
    with pytest.raises(RankingFault, match="query 0 stands 2 times"):
        checked_queries(pl.concat([asked(10), asked(11)]))


def test_a_set_of_targets_is_one_users_and_has_each_target_once() -> None:
    rows = pl.DataFrame({"query": [0, 0], "user": [3, 3], "target": [10, 11], "fold": ["test"] * 2})
    assert checked_queries(rows, several=True)["target"].to_list() == [10, 11]
    with pytest.raises(RankingFault, match="query 0 has target 10 more than once"):
        checked_queries(rows.with_columns(target=pl.lit(10)), several=True)
    with pytest.raises(RankingFault, match="rows of query 0 differ in user or fold"):
        checked_queries(rows.with_columns(user=pl.Series([3, 4])), several=True)


def test_queries_without_times_or_positions_do() -> None:
    assert asked(10).select("time", "position").row(0) == (None, None)


def test_a_ranking_comes_back_from_its_file_as_it_was_written(tmp_path: Path) -> None:
    ranking = scored({10: 0.25, 11: 1.5})
    path = write_parquet(ranking, tmp_path / "new" / "critic.parquet")
    assert read_ranking(path).equals(ranking)
    assert [file.name for file in path.parent.iterdir()] == ["critic.parquet"]
