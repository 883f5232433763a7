from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from llmrec.data.larder import Larder
from llmrec.evaluate.audit import audit
from llmrec.evaluate.finding import Finding, share
from llmrec.ranking import ranked
from tests.evaluate.club import club, listing, offered, placing

CLUB = club(members=400, books=50)
TABLE = offered(CLUB, 10)


def found(
    larder: Larder = CLUB,
    candidates: pl.DataFrame | None = TABLE,
    *,
    table: str = "uniform",
    method: str = "time",
    depth: int = 10,
    **rankings: pl.DataFrame | list[pl.DataFrame],
) -> list[Finding]:
    if not rankings and candidates is not None:
        rankings = {"me": placing(larder, candidates, 1, ranker="me")}
    lists = {name: r if isinstance(r, list) else [r] for name, r in rankings.items()}
    return audit(larder, larder.queries, {table: lists}, {table: candidates}, method=method, depth=depth, seed=7)


def levels(findings: list[Finding], words: str) -> list[str]:
    return [finding.level for finding in findings if words in finding.what]


def in_slot(slots: np.ndarray) -> pl.DataFrame:
    """The club's candidates with every target moved to a slot of one's choice."""
    rows = []
    for (query, books, _), target, slot in zip(TABLE.iter_rows(), CLUB.queries["target"], slots, strict=True):
        order = [book for book in books if book != target]
        order.insert(int(slot), target)
        rows.append((query, order, ["target" if book == target else "uniform" for book in order]))
    return pl.DataFrame(rows, schema=TABLE.schema, orient="row")


def test_an_honest_comparison_is_not_disqualified_nor_warned_about():
    assert {finding.level for finding in found()} <= {"notes"}


def test_the_gravest_finding_comes_first():
    order = ["disqualifies", "warns", "notes"]
    findings = found(candidates=in_slot(np.zeros(400)), method="last")
    assert [order.index(f.level) for f in findings] == sorted(order.index(f.level) for f in findings)
    assert findings[0].level == "disqualifies"


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


def test_a_ranker_that_likes_the_first_slot_is_told():
    first = TABLE.select("query", pl.col("items").alias("item")).explode("item")
    score = -first.select(pl.int_range(pl.len()).over("query")).to_series().to_numpy().astype(float)
    lazy = ranked(first["query"].to_numpy(), first["item"].to_numpy(), score, ranker="lazy", seed=0)
    findings = found(lazy=lazy, me=placing(CLUB, TABLE, 1, ranker="me"))
    assert levels(findings, "`lazy` puts slot 0 first for 100 % of queries, where 10 % are expected") == ["warns"]
    assert not levels(findings, "`me` puts")


def test_candidates_that_the_user_has_read_are_told():
    read = CLUB.contexts(CLUB.queries)
    rows = [
        (query, [int(history[0]), *[b for b in books if b != target][1:], target], ["uniform"] * 9 + ["target"])
        for (query, books, _), target, history in zip(TABLE.iter_rows(), CLUB.queries["target"], read, strict=True)
    ]
    table = pl.DataFrame(rows, schema=TABLE.schema, orient="row")
    assert levels(found(candidates=table), "were already in the user's history: whoever leaves out") == ["warns"]


def test_a_target_in_the_history_gives_itself_away():
    again = CLUB.queries.with_columns(
        target=pl.Series([int(history[0]) for history in CLUB.contexts(CLUB.queries)], dtype=pl.Int32)
    )
    larder = replace(CLUB, queries=again)
    findings = found(larder, offered(larder, 10))
    assert levels(findings, "already in the user's history, and no other candidate is") == ["disqualifies"]


def test_leave_last_out_is_warned_about_and_time_is_not():
    assert levels(found(method="last"), "use `time` to compare systems for deployment") == ["warns"]
    assert not levels(found(method="time"), "leave-last-out")


def test_training_after_the_test_moment_disqualifies():
    """One member starts a year late: what they did in training lies after others' targets."""
    times = [
        [t + 366 * 86_400 for t in row] if u == 7 else row for u, row in enumerate(CLUB.histories["times"].to_list())
    ]
    late = replace(CLUB, histories=CLUB.histories.with_columns(times=pl.Series(times)))
    assert levels(found(late), "1 users' training interactions reach past the first target") == ["disqualifies"]
    assert not levels(found(late, method="last"), "reach past")


def test_a_target_that_was_trained_on_disqualifies():
    peeked = replace(CLUB, histories=CLUB.histories.with_columns(train=pl.lit(5, pl.Int32)))
    assert levels(found(peeked), "400 targets (100 %) are training interactions of their own user") == ["disqualifies"]


def test_targets_at_the_time_of_the_book_before_are_counted():
    times = [[*row[:-1], row[-2]] if u < 100 else row for u, row in enumerate(CLUB.histories["times"].to_list())]
    tied = replace(CLUB, histories=CLUB.histories.with_columns(times=pl.Series(times)))
    assert levels(found(tied), "25 % of targets have the time of the interaction before them") == ["warns"]


def test_a_larder_without_times_is_audited_all_the_same():
    timeless = replace(
        CLUB,
        histories=CLUB.histories.with_columns(times=pl.lit(None, pl.List(pl.Int64))),
        queries=CLUB.queries.with_columns(time=pl.lit(None, pl.Int64)),
    )
    assert not levels(found(timeless, method="last"), "time of the interaction before")
    assert levels(found(timeless, method="time"), "no times") == ["warns"]


def test_books_with_the_same_title_are_counted():
    twins = CLUB.catalogue.with_columns(
        text=pl.when(pl.col("item").is_in([3, 4])).then(pl.lit("Selected Works")).otherwise("text")
    )
    findings = found(replace(CLUB, catalogue=twins))
    assert levels(findings, "2 of 50 items (4 %) read like another; 16 targets (4 %)") == ["warns"]


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


def test_lists_that_are_not_made_alike_are_told():
    polite = listing(CLUB, 1, ranker="polite")
    whole = np.tile(np.arange(20), 400)
    rude = ranked(np.repeat(np.arange(400), 20), whole, -whole.astype(float), ranker="rude", seed=0)
    findings = found(candidates=None, table="catalogue", polite=polite, rude=rude)
    assert levels(findings, "`rude` lists items that the user has already met") == ["warns"]
    assert not levels(findings, "`polite` lists")


def test_a_list_shorter_than_what_is_measured_is_told():
    short = listing(CLUB, 1, ranker="short", depth=5)
    findings = found(candidates=None, table="catalogue", short=short, long=listing(CLUB, 2, ranker="long"))
    assert levels(findings, "`short` lists fewer than 10 items for 400 queries") == ["warns"]
    assert not levels(findings, "`long` lists")


def test_books_that_nobody_read_in_training_are_noted():
    cold = club(members=20, books=50)
    assert levels(found(cold, offered(cold, 10)), "1 targets (5 %) never occur in training") == ["notes"]


def test_few_users_are_noted():
    small = club(members=20)
    assert levels(found(small, offered(small, 10)), "20 users only") == ["notes"]
    assert not levels(found(), "users only")
