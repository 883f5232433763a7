from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl

from llmrec.evaluate.finding import share
from llmrec.ranking import ranked
from llmrec.rng import rng_for
from tests.evaluate.audited import CLUB, TABLE, found, in_slot, levels, of
from tests.evaluate.club import listing, offered


def test_a_slot_that_follows_from_the_target_disqualifies():
    slots = CLUB.queries["target"].to_numpy() * 7 % 10
    assert levels(found(candidates=in_slot(slots)), "slot follows from the target") == ["disqualifies"]


def test_a_target_that_always_stands_first_disqualifies():
    findings = found(candidates=in_slot(np.zeros(400)))
    assert levels(findings, "slot 0 holds 100 %, where 10 % are expected") == ["disqualifies"]


def test_negatives_from_a_ranker_disqualify_when_the_target_is_injected():
    mined = TABLE.with_columns(
        source=pl.col("source").list.eval(
            pl.when(pl.element() == "target").then(pl.element()).otherwise(pl.lit("retriever"))
        )
    )
    assert levels(found(candidates=mined), "supplied by `retriever` (3,600)") == ["disqualifies"]


def test_a_two_stage_set_may_come_from_a_ranker_and_its_ceiling_is_told():
    mined = TABLE.with_columns(source=pl.col("source").list.eval(pl.lit("retrieved")))
    keep = pl.col("query") < 100  # the others lose their target
    cut = mined.with_columns(
        items=pl.when(keep).then("items").otherwise(pl.col("items").list.eval((pl.element() + 1) % 50)),
    )
    has = cut.join(CLUB.queries, on="query").filter(pl.col("items").list.contains(pl.col("target"))).height
    ranking = explode_in_order(cut)
    findings = found(candidates=cut, table="two_stage", me=ranking)
    assert levels(findings, "candidates come from `retrieved`") == ["notes"]
    assert any(share(has, 400) in finding.what for finding in findings)
    assert has < 400


def explode_in_order(candidates: pl.DataFrame) -> pl.DataFrame:
    rows = candidates.select("query", pl.col("items").alias("item")).explode("item")
    score = -rows.select(pl.int_range(pl.len()).over("query")).to_series().to_numpy().astype(float)
    luck = np.random.default_rng(0).random(rows.height)
    return ranked(rows["query"].to_numpy(), rows["item"].to_numpy(), score * 0 + luck, ranker="me", seed=0)


def test_candidates_that_the_user_has_read_are_told():
    read = CLUB.contexts(CLUB.queries)
    rows = [
        (query, [int(history[0]), *[b for b in books if b != target][1:], target], ["uniform"] * 9 + ["target"])
        for (query, books, _), target, history in zip(TABLE.iter_rows(), CLUB.queries["target"], read, strict=True)
    ]
    table = pl.DataFrame(rows, schema=TABLE.schema, orient="row")
    assert levels(found(candidates=table), "were already in the user's history") == ["warns"]


def test_a_target_in_the_history_gives_itself_away():
    again = CLUB.queries.with_columns(
        target=pl.Series([int(history[0]) for history in CLUB.contexts(CLUB.queries)], dtype=pl.Int32)
    )
    larder = replace(CLUB, queries=again)
    findings = found(larder, offered(larder, 10))
    assert levels(findings, "already in the user's history, and no other candidate is") == ["disqualifies"]


def test_the_published_mistake_is_shown_with_what_it_is_worth():
    """A benchmark that seeds its shuffle with the answer: no history is needed to find it."""
    slots = np.array([rng_for(7, "shuffle", int(target)).integers(10) for target in CLUB.queries["target"]])
    [(level, what)] = of(found(candidates=in_slot(slots)), "slot-follows-target")
    assert level == "disqualifies"
    [rule] = re.findall(r"a rule that knows only slots and popularity gets HR@1 (0\.\d+) without any history", what)
    assert float(rule) > 0.5
    assert what.endswith("chance 0.100")


def test_slots_shuffled_by_query_are_no_finding():
    assert not of(found(), "slot-follows-target")
    assert not of(found(), "uneven-slots")


def test_a_target_in_the_history_is_told_where_there_are_no_candidate_sets():
    again = CLUB.queries.with_columns(
        target=pl.Series([int(history[0]) for history in CLUB.contexts(CLUB.queries)], dtype=pl.Int32)
    )
    larder = replace(CLUB, queries=again)
    lists = found(larder, None, table="catalogue", me=listing(larder, 1, ranker="me"))
    assert of(lists, "target-in-history") == [("warns", "400 targets (100 %) are already in the user's history")]
