from __future__ import annotations

import numpy as np
import polars as pl

from llmrec.evaluate.audit import findings
from llmrec.evaluate.case import Case
from llmrec.ranking import ranked
from tests.evaluate.audited import CLUB, MINE, found, levels, of
from tests.evaluate.club import listing, offered, placing


def test_lists_that_are_not_made_alike_are_told():
    polite = listing(CLUB, 1, ranker="polite")
    whole = np.tile(np.arange(20), 400)
    rude = ranked(np.repeat(np.arange(400), 20), whole, -whole.astype(float), ranker="rude", seed=0)
    lists = found(candidates=None, table="catalogue", polite=polite, rude=rude)
    assert levels(lists, "`rude` lists items that the user has already met") == ["warns"]
    assert not levels(lists, "`polite` lists")


def test_a_list_shorter_than_what_is_measured_is_told():
    short = listing(CLUB, 1, ranker="short", depth=5)
    lists = found(candidates=None, table="catalogue", short=short, long=listing(CLUB, 2, ranker="long"))
    assert levels(lists, "`short` lists fewer than 10 items for 400 queries") == ["warns"]
    assert not levels(lists, "`long` lists")


def test_lists_that_look_like_different_candidates_are_told():
    """Two files without a word about where their candidates came from."""
    lists = {name: [placing(CLUB, offered(CLUB, 10, seed=seed), 1, ranker=name)] for seed, name in enumerate("ab")}
    files = Case(CLUB.queries, {"rankings": lists}, {})
    [(level, what)] = of(findings(files), "different-lists")
    assert level == "warns"
    assert what.startswith("`a` and `b` list every target, as candidates do, and different items for 400 of 400")
    same = Case(CLUB.queries, {"rankings": {"a": lists["a"], "c": lists["a"]}}, {}, depth=20)
    assert not of(findings(same), "different-lists")
    assert not of(findings(same), "short-lists")  # ten candidates are no list that was cut short


def test_made_up_items_are_counted():
    ranking = listing(CLUB, 2, ranker="inventive")
    strange = ranking.with_columns(item=pl.when(pl.col("rank") == 1).then(-7).otherwise("item").cast(pl.Int32))
    lists = found(candidates=None, table="catalogue", inventive=strange, honest=ranking)
    assert of(lists, "unknown-items") == [
        ("warns", "400 rows of `inventive` (5 %) list items that are not in the catalogue")
    ]


def test_rankers_that_the_recipe_names_and_nobody_ranked_are_told():
    case = Case(CLUB.queries, {"uniform": {"orpo": [MINE, MINE]}}, {}, expected={"popularity": 1, "orpo": 3})
    assert of(findings(case), "missing-rankers") == [
        ("warns", "1 of the recipe's 2 rankers ranked nothing: `popularity`"),
        ("warns", "`orpo` is there with 2 of 3 seeds"),
    ]
