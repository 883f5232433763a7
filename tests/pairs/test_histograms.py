from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from llmrec.pairs.build import build_pairs
from llmrec.pairs.card import write_card
from llmrec.pairs.histograms import percentiles, popularity_rows, rank_rows
from llmrec.ranking import write_parquet
from tests.pairs.test_build import QUERIES, SHOP, lines_encoder, rejected


def pairs(items: list[list[int]], sources: list[list[str]], ranks: list[list[int | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"chosen_item": [9] * len(items), "rejected_items": items, "rejected_from": sources, "rejected_rank": ranks}
    )


COUNTS = pl.DataFrame({"item": range(10), "count": [*range(9), 100]})


def test_a_percentile_is_a_place_among_the_items_and_equals_share_theirs():
    assert percentiles(COUNTS)["percentile"].to_list() == [5 + 10 * n for n in range(10)]
    assert percentiles(COUNTS.with_columns(count=1))["percentile"].to_list() == [50] * 10


def test_popularity_stands_by_source_beside_that_of_what_was_chosen():
    table = pairs([[0, 9], [0, 8]], [["uniform", "popular"]] * 2, [[None, None]] * 2)
    assert popularity_rows(table, COUNTS) == [
        ["chosen", "2", "`         █`", "95"],
        ["popular", "2", "`        ██`", "90"],
        ["uniform", "2", "`█         `", "5"],
    ]


def test_ranks_stand_by_source_between_the_first_and_the_last():
    table = pairs([[0, 9, 1]] * 2, [["uniform", "retrieved", "self_play"]] * 2, [[None, 11, 1], [None, 20, 1]])
    assert rank_rows(table) == [
        ["retrieved", "2", "11 to 20", "`█        █`", "16"],
        ["self_play", "2", "1 to 1", "`█         `", "1"],
    ]


@pytest.fixture
def card(tmp_path: Path) -> str:
    table = build_pairs(QUERIES, SHOP, lines_encoder(), rejected())
    for fold in ("train", "valid"):
        write_parquet(table, tmp_path / f"{fold}.parquet")
    path = write_card(
        tmp_path,
        dataset="cinema",
        licence=None,
        command="llmrec pairs",
        shares={"uniform": 0.5, "popular": 0.5},
        guards={"touched": 1234, "same_title": 5, "near_text": 0},
        counts=SHOP.catalogue.select("item", "count"),
        left_out={"no user": 12, "no item": 3},
        played={1: 0.25, 10: 0.5},
    )
    return path.read_text(encoding="utf-8")


def test_the_card_says_what_was_left_out_and_what_guards_took_out(card: str):
    assert "left out, 15 in all, by reason" in card
    assert "| no user | 12 |" in card
    assert "| `touched` | what the user took up, as far as `pairs.guard.after` looks | 1,234 |" in card


def test_the_card_shows_how_popular_each_source_is(card: str):
    assert "| chosen | 3 | `" in card
    assert "| popular | " in card


def test_the_card_says_how_often_the_adapter_was_right(card: str):
    assert "Their targets are its first in 25.0%, and among its first 10 in 50.0% of them." in card
