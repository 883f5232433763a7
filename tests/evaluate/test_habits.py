from __future__ import annotations

import numpy as np
import polars as pl

from llmrec.ranking import ranked
from tests.evaluate.audited import CLUB, TABLE, found, levels
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
