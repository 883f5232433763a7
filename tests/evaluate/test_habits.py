from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.ranking import ranked
from tests.evaluate.audited import CLUB, MINE, TABLE, found, in_slot, levels, of
from tests.evaluate.club import placing


def test_a_ranker_that_likes_the_first_slot_is_told():
    first = TABLE.select("query", pl.col("items").alias("item")).explode("item")
    score = -first.select(pl.int_range(pl.len()).over("query")).to_series().to_numpy().astype(float)
    lazy = ranked(first["query"].to_numpy(), first["item"].to_numpy(), score, ranker="lazy", seed=0)
    findings = found(lazy=lazy, me=placing(CLUB, TABLE, 1, ranker="me"))
    assert levels(findings, "`lazy` puts slot 0 first for 100 % of queries, where 10 % are expected") == ["warns"]
    assert not levels(findings, "`me` puts")


def test_a_ranker_that_says_nothing_is_told():
    flat = TABLE.select("query", pl.col("items").alias("item")).explode("item")
    silent = ranked(flat["query"].to_numpy(), flat["item"].to_numpy(), np.zeros(flat.height), ranker="silent", seed=0)
    findings = found(silent=silent, me=placing(CLUB, TABLE, 1, ranker="me"))
    assert levels(findings, "`silent` gives every item the same score for 100 % of queries") == ["warns"]
    assert not levels(findings, "`me` gives")


def test_ties_with_the_target_are_noted():
    ranking = placing(CLUB, TABLE, 1, ranker="me").with_columns(
        score=pl.when((pl.col("rank") <= 2) & (pl.col("query") < 100)).then(5.0).otherwise("score").cast(pl.Float32)
    )
    assert levels(found(me=ranking), "`me` ties the target with other items for 25 % of queries") == ["notes"]


def test_two_rankers_with_the_same_scores_are_told():
    """What an adapter that was never loaded looks like."""
    before, after = (placing(CLUB, TABLE, 2, ranker=name) for name in ("zero_shot", "orpo"))
    findings = found(zero_shot=before, orpo=after, other=placing(CLUB, TABLE, 1, ranker="other"))
    assert levels(findings, "`zero_shot` and `orpo` give exactly the same scores") == ["warns"]


def test_a_tie_rule_that_settles_who_is_first_is_warned_about():
    """`unsure` ties target and another at the top for everyone; `rival` finds every second target."""
    unsure = placing(CLUB, TABLE, 1, ranker="unsure").with_columns(
        score=pl.when(pl.col("rank") <= 2).then(5.0).otherwise("score").cast(pl.Float32)
    )
    rival = placing(CLUB, TABLE, [1, 2] * 200, ranker="rival")
    findings = found(unsure=unsure, rest={"primary": "hit@1"})
    assert of(findings, "ties") == [
        (
            "notes",
            "`unsure` ties the target with other items for 100 % of queries: its HR@1 of 0.500 could be made anything "
            "from 0.000 to 1.000",
        )
    ]
    [(level, what)] = of(found(unsure=unsure, rival=rival, rest={"primary": "hit@1"}), "ties")
    assert level == "warns"
    assert what.endswith("from 0.000 to 1.000, enough to settle whether it comes first")


def test_who_gives_the_same_order_for_other_scores_adds_nothing():
    retriever = placing(CLUB, TABLE, 2, ranker="retriever")
    reranker = placing(CLUB, TABLE, 2, ranker="reranker").with_columns(score=pl.col("score") * 3 - 1)
    own = placing(CLUB, TABLE, 5, ranker="own")
    findings = found(retriever=retriever, reranker=reranker, own=own)
    assert of(findings, "copied-order") == [
        ("warns", "`retriever` and `reranker` order all items alike for 100 % of queries, with other scores")
    ]
    assert not of(findings, "copied-scores")


def test_who_finds_the_target_less_often_than_a_coin_is_told():
    upside_down = placing(CLUB, TABLE, 9, ranker="upside_down")
    findings = found(upside_down=upside_down, me=MINE)
    assert of(findings, "below-chance") == [
        ("warns", "`upside_down` puts the target below 89 % of the others, on average")
    ]


@pytest.mark.parametrize(("sign", "rho"), [(1, "+1.00"), (-1, "-1.00")])
def test_scores_that_are_slots_are_told(sign: int, rho: str):
    """A parser that reads scores by line, not by item."""
    rows = TABLE.select("query", pl.col("items").alias("item")).explode("item")
    slot = rows.select(pl.int_range(pl.len()).over("query")).to_series().to_numpy().astype(float)
    by_line = ranked(rows["query"].to_numpy(), rows["item"].to_numpy(), -sign * slot, ranker="by_line", seed=0)
    findings = found(by_line=by_line, me=MINE)
    assert of(findings, "slot-copying") == [
        (
            "warns",
            f"`by_line`'s ranks follow the slots of the candidates: Spearman's rho is {rho}, where 0 is expected",
        )
    ]


def test_an_honest_ranker_has_no_habit_even_where_the_slots_leak():
    findings = found(candidates=in_slot(np.zeros(400)), me=MINE)
    assert not of(findings, "slot-habit")
    assert not of(findings, "slot-copying")
