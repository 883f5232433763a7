from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.larder import Larder
from llmrec.evaluate.titles import contained
from tests.evaluate.audited import CLUB, TABLE, found, levels, of


def test_books_with_the_same_title_are_counted():
    twins = CLUB.catalogue.with_columns(
        text=pl.when(pl.col("item").is_in([3, 4])).then(pl.lit("Selected Works")).otherwise("text")
    )
    findings = found(replace(CLUB, catalogue=twins))
    assert levels(findings, "2 of 50 items (4 %) read like another; 16 targets (4 %)") == ["warns"]


def with_titles(*titles: str) -> Larder:
    """The club's first books under these titles; the others keep theirs."""
    rest = CLUB.catalogue["text"].to_list()[len(titles) :]
    return replace(CLUB, catalogue=CLUB.catalogue.with_columns(text=pl.Series([*titles, *rest])))


def test_titles_that_differ_in_punctuation_case_or_accents_are_noted():
    findings = found(with_titles("Amélie!", "amelie", "Heat", "HEAT"))
    [(level, what)] = of(findings, "near-twin-titles")
    assert level == "notes"
    assert what.startswith("2 of 50 items (4 %) read like another but for punctuation, case and accents")
    [(_, twins)] = of(findings, "twin-titles")
    assert twins.startswith("2 of 50 items (4 %) read like another;")


def test_a_title_within_a_title_is_counted_with_the_sets_that_hold_both():
    rows = [(query, [4, 5, 30], ["target", "uniform", "uniform"]) for query in range(400)]
    asked = CLUB.queries.with_columns(target=pl.lit(4, pl.Int32))
    larder = replace(with_titles("A", "B", "C", "D", "Heat", "The Heat"), queries=asked)
    [(level, what)] = of(found(larder, pl.DataFrame(rows, schema=TABLE.schema, orient="row")), "title-in-title")
    assert level == "notes"
    assert what == (
        "1 of 50 items (2 %) occur as a part of another's title; 400 targets (100 %) are among them; in 100 % of the "
        "sets of `uniform` the target's title is in another's, or another's in it"
    )


def test_parts_of_words_are_no_titles():
    assert not of(found(with_titles("Heat", "Heatwave")), "title-in-title")


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5), max_size=12, unique_by=tuple))
def test_contained_is_what_looking_for_each_title_in_each_other_finds(titles: list[list[str]]):
    def within(short: list[str], long: list[str]) -> bool:
        starts = range(len(long) - len(short) + 1)
        return 0 < len(short) < len(long) and any(long[at : at + len(short)] == short for at in starts)

    slow = [(i, j) for i, a in enumerate(titles) for j, b in enumerate(titles) if within(a, b)]
    short, long = contained(titles)
    assert list(zip(short.tolist(), long.tolist(), strict=True)) == slow


def test_numbers_that_are_given_in_the_order_of_reading_are_told():
    [(_, what), *_] = of(found(), "id-order")
    assert what.startswith("items' codes follow time")
    assert what.endswith("92 % of targets have the number after the largest that their user had met")


def test_numbers_that_were_shuffled_are_not():
    luck = np.random.default_rng(0).permutation(50).astype(np.int32)
    again = pl.Series("new", luck)
    shelf = CLUB.histories.with_columns(items=pl.col("items").list.eval(pl.element().replace_strict(range(50), again)))
    asked = CLUB.queries.with_columns(target=pl.col("target").replace_strict(range(50), again).cast(pl.Int32))
    larder = replace(CLUB, histories=shelf, queries=asked)
    assert not of(found(larder, None, table="catalogue"), "id-order")
