"""Each source of rejected items, in a shop where what it may give is known."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.candidates.negatives import SOURCES, Negatives, negatives, refuse_unmet
from llmrec.data.larder import Larder
from llmrec.errors import DataFault
from llmrec.recipe.needs import READS_TARGET
from llmrec.recipe.sections import From, Guard
from tests.candidates.shop import asked, at_home, declining, shop
from tests.candidates.test_negatives import mined

DAY = 86_400


def given_by(
    source: str,
    queries: pl.DataFrame,
    larder: Larder,
    k: int = 2,
    rankings: dict[str, Any] | None = None,
    **fields: Any,
) -> list[tuple[int, int | None, float | None]]:
    """(item, rank, score) of everything that the source gave for these queries; what was made up for is left out."""
    shares = From.model_validate({source: {"share": 1, **fields}})
    table = negatives(queries, larder, k, shares, seed=7, **(rankings or {}))
    rows = table.explode("items", "source", "rank", "score").filter(source=source)
    return list(rows.select("items", "rank", "score").iter_rows())


def again(films: list[int], count: int, place: int = -1, time: int | None = None) -> pl.DataFrame:
    """The first customer's film at a place, asked for several times."""
    queries = asked([(query, 0, films, place) for query in range(count)], fold="train")
    return queries.with_columns(pl.lit(time, pl.Int64).alias("time"))


def items(found: list[tuple[int, int | None, float | None]]) -> set[int]:
    return {item for item, _, _ in found}


def test_every_source_has_fields_in_the_recipe_and_the_recipe_knows_who_reads_the_target():
    assert list(SOURCES) == list(From.model_fields)
    assert set(READS_TARGET) == {name for name, source in SOURCES.items() if source.reads_target}
    assert {name for name, source in SOURCES.items() if source.own} == {"rated_lower", "lesser_behaviour"}


def test_a_power_of_popularity_flattens_it():
    larder = shop([[0]], films=4, counts=[10_000, 900, 100, 0])
    drawn = Counter(item for item, _, _ in given_by("popular", again([0], 3000), larder, 1, exponent=0.5))
    assert drawn[1] / 3000 == pytest.approx(30 / 40, abs=0.03)
    assert drawn[3] == 0


def test_ranks_cut_out_a_part_of_the_ranking():
    larder = shop([[0]], films=40)
    queries = again([0], 50)
    for source, name in (("retrieved", "retrieved"), ("self_play", "played")):
        rankings = {name: mined(queries, list(range(39, 0, -1)))}
        found = given_by(source, queries, larder, 3, rankings, ranks=[5, 9])
        assert {rank for _, rank, _ in found} == {5, 6, 7, 8, 9}
        assert all(item == 40 - rank for item, rank, _ in found if rank is not None)


def test_recent_draws_what_was_in_fashion_before_the_query_and_never_after():
    """Three customers a day took film 5, then 6, then 7; the query stands at the very moment of the sevens."""
    lists = [[0, 1], *[[9, 5]] * 3, *[[9, 6]] * 3, *[[9, 7]] * 3]
    days = [[0, 40], *[[0, 10]] * 3, *[[1, 39]] * 3, *[[2, 40]] * 3]
    larder = at_home(shop(lists, films=12), times=[[d * DAY for d in row] for row in days], train=[2] * len(lists))
    queries = again([0, 1], 60, time=40 * DAY)
    assert items(given_by("recent", queries, larder, 1, days=20)) == {6}
    assert items(given_by("recent", queries, larder, 1, days=35)) == {5, 6}
    assert items(given_by("recent", queries, larder, 1, days=41)) == {5, 6, 9}


def test_recent_counts_no_interaction_that_is_held_back():
    lists = [[0, 1], [9, 5], [9, 6]]
    larder = at_home(shop(lists, films=12), times=[[0, 900], [1, 2], [1, 2]], train=[2, 2, 1])
    assert items(given_by("recent", again([0, 1], 40, time=900), larder, 1)) == {5, 9}


WORDS = ["Comedy|War", "War", "Comedy", "Drama", None, "War,Drama"]
LISTS = [["Comedy", "War"], ["War"], ["Comedy"], ["Drama"], [], ["Drama", "War"]]


@pytest.mark.parametrize("genres", [WORDS, LISTS])
def test_same_attribute_shares_a_value_with_the_target(genres: list[Any]):
    larder = shop([[3, 0]], films=6)
    larder.catalogue.insert_column(3, pl.Series("genres", genres, strict=False))
    assert items(given_by("same_attribute", again([3, 0], 20), larder, 2, field="genres")) == {1, 2, 5}
    assert items(given_by("same_attribute", again([0, 4], 5), larder, 2, field="genres")) == set()


def test_text_similar_gives_the_nearest_titles_with_place_and_cosine():
    titles = ["Up", "Toy Story", "Toy Story 2", "Story of a Toy", "Alien", "Aliens", "Big"]
    larder = shop([[0, 1]], films=titles)
    found = given_by("text_similar", again([0, 1], 20), larder, 1, ranks=[1, 2])
    assert items(found) == {2, 3}
    score = {rank: cosine for _, rank, cosine in found}
    assert 1 > score[1] > score[2] > 0  # type: ignore[operator]


def test_in_batch_gives_targets_of_the_same_group_whatever_part_is_drawn():
    lists = [[50 + n, n] for n in range(40)]
    larder = shop(lists, films=100)
    whole = asked([(n, n, films, 1) for n, films in enumerate(lists)], fold="train")
    shares = From.model_validate({"in_batch": {"share": 1, "size": 8}})
    drawn = Negatives(larder, 7, shares, seed=7, among=whole)
    table = drawn(whole)
    groups = {frozenset([n, *row]) for n, row in enumerate(table["items"].to_list())}
    assert len(groups) == 5
    assert all(len(group) == 8 for group in groups)
    assert pl.concat([drawn(whole[:11]), drawn(whole[11:])]).equals(table)


def test_what_was_declined_is_drawn_by_reason_and_only_from_the_time_that_is_learned_from():
    lists = [[0, 1, 2], [5, 6, 7]]
    larder = at_home(shop(lists, films=30), times=[[10, 20, 30]] * 2, train=[2, 2])
    rows = [(0, 9, 15, "skipped", None), (0, 10, None, "skipped", None), (0, 11, 25, "skipped", None),
            (0, 1, 5, "skipped", None), (0, 12, 15, "low_rated", 1.5), (1, 13, 15, "skipped", None)]  # fmt: skip
    larder = declining(larder, rows)
    queries = again(lists[0], 30, 1)
    assert items(given_by("skipped", queries, larder)) == {9, 10}  # 1 was taken up all the same, 11 came too late
    assert set(given_by("low_rated", queries, larder)) == {(12, None, 1.5)}


def test_rated_lower_gives_what_the_same_user_liked_less_by_a_margin():
    films = [0, 1, 2, 3, 4]
    larder = at_home(shop([films], films=30), ratings=[[2, 3, 4.5, 4, 1]], train=[4])
    found = given_by("rated_lower", again(films, 40, 3), larder, margin=1.0)
    assert set(found) == {(0, None, 2.0), (1, None, 3.0)}  # 4 is held back, 2 was liked more
    assert items(given_by("rated_lower", again(films, 10, 3), larder, margin=1.5)) == {0}


def test_lesser_behaviour_gives_what_was_viewed_and_never_bought():
    films = [0, 1, 2, 1, 3, 4]
    larder = at_home(shop([films], films=30), behaviours=[[1, 1, 1, 0, 0, 1]], train=[5])
    assert items(given_by("lesser_behaviour", again(films, 40, 4), larder)) == {0, 2}  # 1 was bought later on
    assert items(given_by("lesser_behaviour", again(films, 10, 2), larder)) == set()  # a view is less than nothing


def test_an_item_of_ones_own_history_is_exempt_from_no_other_guard():
    """Film 5 reads like the target, film 0 is the target met before, and rated low then."""
    films = [0, 5, 1, 0]
    larder = at_home(shop([films], films=["Heat", "a", "b", "c", "d", "Heat "]), ratings=[[1, 1, 1, 5]], train=[4])
    table = negatives(again(films, 30), larder, 1, {"rated_lower": 1}, seed=7)
    assert set(table["items"].explode(empty_as_null=False)) == {1}
    assert table["same_title"].sum() > 0


@pytest.mark.parametrize(
    ("source", "fields", "said"),
    [
        ("recent", {}, "have no times"),
        ("same_attribute", {"field": "genre"}, "same_attribute.field is genre, and the catalogue has no fields"),
        ("skipped", {}, "no impressions that were passed over"),
        ("low_rated", {}, "no rows were rated below data.min_rating"),
        ("self_play", {}, "there is no ranking of the training queries"),
        ("rated_lower", {}, "the histories have no ratings"),
        ("lesser_behaviour", {}, "the histories have no behaviours"),
    ],
)
def test_a_source_without_its_data_is_refused_with_a_way_out(source: str, fields: dict[str, Any], said: str):
    larder = shop([[0, 1]], films=9)
    larder = at_home(larder, times=[None])  # type: ignore[list-item]
    with pytest.raises(DataFault, match=said):
        given_by(source, larder.queries, larder, **fields)


@pytest.mark.parametrize(
    ("source", "given", "said"),
    [
        ("text_similar", ["query", "user"], "text_similar reads the queries' targets"),
        ("rated_lower", ["query", "user", "target"], "rated_lower reads the queries' positions"),
        ("recent", ["query", "user", "position"], "recent reads the queries' times"),
    ],
)
def test_a_source_is_not_asked_without_what_it_reads_of_the_query(source: str, given: list[str], said: str):
    larder = at_home(shop([[0, 1]], films=9), ratings=[[1, 5]])
    with pytest.raises(DataFault, match=f"{said}, and query 0 has none"):
        negatives(larder.queries.select(given), larder, 2, {source: 1}, seed=7)


def test_in_batch_names_a_query_that_is_in_no_group_and_wants_groups_at_once():
    larder = shop([[0, 1], [2, 3]], films=9)
    with pytest.raises(DataFault, match="in_batch draws the targets of other queries, and none are given"):
        Negatives(larder, 1, {"in_batch": 1}, seed=7)
    drawn = Negatives(larder, 1, {"in_batch": 1}, seed=7, among=larder.queries[:1])
    with pytest.raises(DataFault, match="in_batch knows no query 1"):
        drawn(larder.queries)


def test_what_was_once_rated_high_is_not_rated_lower():
    """Film 0 was a 2 and later a 5, film 1 a 2 both times."""
    films = [0, 1, 2, 0, 1]
    larder = at_home(shop([films], films=30), ratings=[[2, 2, 5, 5, 2]], train=[5])
    assert set(given_by("rated_lower", again(films, 20, 2), larder, 1)) == {(1, None, 2.0)}


def test_what_the_data_lack_is_told_without_rankings_or_queries():
    larder = shop([[0, 1]], films=9)
    shares = [From.model_validate({"uniform": 1, "retrieved": 1, "self_play": 1, "in_batch": 1})]
    refuse_unmet(larder, shares, Guard(after=3))
    for source, said in (("rated_lower", "no ratings"), ("skipped", "no impressions")):
        with pytest.raises(DataFault, match=said):
            refuse_unmet(larder, [*shares, From.model_validate({source: 1})], Guard())
    refuse_unmet(larder, [From.model_validate({"rated_lower": 0, "uniform": 1})], Guard())
    with pytest.raises(DataFault, match="guard.after read the clock"):
        refuse_unmet(at_home(larder, times=[None]), shares, Guard(after=3))  # type: ignore[list-item]


def busy(rng: np.random.Generator) -> tuple[Larder, pl.DataFrame, dict[str, pl.DataFrame]]:
    """Ten customers with six films each, the last two held back, in a shop that has something for every source; 20
    queries (two a customer, at films 2 and 3) and rankings of them."""
    lists = [rng.choice(40, size=6, replace=False).tolist() for _ in range(10)]
    larder = at_home(
        shop(lists, films=[f"Film {n // 3}{'abc'[n % 3]}" for n in range(60)]),
        ratings=rng.integers(1, 6, (10, 6)).tolist(), behaviours=rng.integers(0, 2, (10, 6)).tolist(),
        times=[[DAY * n for n in range(6)]] * 10, train=[4] * 10,
    )  # fmt: skip
    larder.catalogue.insert_column(3, pl.Series("genre", [f"genre {n % 7}" for n in range(60)]))
    passed = [(user, int(rng.integers(40, 60)), DAY * day, reason, 1.0)
              for user in range(10) for day in range(4) for reason in ("skipped", "low_rated")]  # fmt: skip
    queries = asked([(n, n % 10, lists[n % 10], 2 + n // 10) for n in range(20)], fold="train")
    queries = queries.with_columns(time=pl.col("position").cast(pl.Int64) * DAY)
    rankings = {name: mined(queries, rng.permutation(60)[:30].tolist()) for name in ("retrieved", "played")}
    return declining(larder, passed), queries, rankings


EVERY: dict[str, Any] = {**dict.fromkeys(SOURCES, 1.0), "same_attribute": {"share": 1, "field": "genre"}}
EVERY |= {"in_batch": {"share": 1, "size": 8}}


@given(k=st.integers(1, 14), seed=st.integers(0, 2**32), data=st.data())
def test_any_parts_of_the_queries_in_any_order_get_the_rows_of_the_whole_from_every_source(
    k: int, seed: int, data: st.DataObject
):
    larder, whole, rankings = busy(np.random.default_rng(seed))
    order = data.draw(st.permutations(range(whole.height)))
    cut = data.draw(st.integers(0, whole.height))
    given = {**rankings, "among": whole, "guard": Guard(near_text=0.95), "seed": seed}
    table = Negatives(larder, k, From.model_validate(EVERY), **given)(whole)
    given["among"] = whole[order]
    parts = [Negatives(larder, k, From.model_validate(EVERY), **given)(whole[some])
             for some in (order[:cut], order[cut:])]  # fmt: skip
    assert pl.concat(parts).sort("query").equals(table)
    histories = larder.histories["items"].to_list()
    for query, row, sources in table.select("query", "items", "source").iter_rows():
        assert len(set(row)) == k
        target = whole["target"][query]
        own = {item for item, source in zip(row, sources, strict=True) if SOURCES[source].own}
        assert target not in row
        assert own <= set(histories[query % 10][:4])
        assert not (set(row) - own) & set(histories[query % 10])


@given(seed=st.integers(0, 2**32), who=st.integers(0, 9))
def test_what_is_held_back_of_others_moves_no_draw(seed: int, who: int):
    """Another customer's last two films, their ratings, and what is declined from then on change nothing."""
    rng = np.random.default_rng(seed)
    larder, whole, rankings = busy(rng)
    mine = whole.filter(user=who)
    given = {**rankings, "among": whole, "seed": seed}
    lists, stars, hows = (larder.histories[name].to_list() for name in ("items", "ratings", "behaviours"))
    for user in range(10):
        if user != who:
            lists[user][4:], stars[user][4:], hows[user][4:] = [50, 51], [5, 5], [0, 0]
    late = [
        (user, 59, DAY * day, reason, 1.0)
        for user in range(10)
        for day in (4, 9)
        for reason in ("skipped", "low_rated")
    ]
    other = at_home(larder, items=lists, ratings=stars, behaviours=hows)
    other = declining(other, [*larder.declined.rows(), *late])
    shares = From.model_validate(EVERY)
    assert Negatives(other, 12, shares, **given)(mine).equals(Negatives(larder, 12, shares, **given)(mine))


def test_of_twelve_equal_shares_each_source_gives_one_of_twelve():
    larder, whole, rankings = busy(np.random.default_rng(1))
    table = negatives(whole, larder, 12, From.model_validate(EVERY), seed=7, **rankings)
    counts = Counter(table["source"].explode(empty_as_null=False))
    assert set(counts) == set(SOURCES)
    for name in ("popular", "recent", "retrieved", "self_play", "text_similar"):
        assert counts[name] == whole.height, name
