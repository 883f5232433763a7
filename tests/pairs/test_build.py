from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.candidates.negatives import negatives
from llmrec.errors import DataFault, PromptFault
from llmrec.pairs.build import PAIRS_SCHEMA, build_pairs, exploded
from llmrec.prompts.encoding import Encoder
from llmrec.prompts.template import load_template
from llmrec.prompts.tokens import encode
from llmrec.recipe.sections import Answer
from tests.candidates.shop import asked, shop
from tests.prompts import readers
from tests.prompts.readers import TITLES

BORROWED = [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
SHOP = shop(BORROWED, TITLES)
QUERIES = asked([(11, 0, BORROWED[0], 2), (12, 1, BORROWED[1], 3), (13, 1, BORROWED[1], 4)], fold="train")
LINES, CHAT = readers.lines(), readers.chat()


def lines_encoder(budget: int = 64) -> Encoder:
    return Encoder(LINES, load_template("movies/lines"), SHOP.texts, budget, Answer())


def letter_encoder() -> Encoder:
    return Encoder(CHAT, load_template("movies/pick-letter"), SHOP.texts, 512, Answer(style="letter", eos=False))


def rejected(queries: pl.DataFrame = QUERIES, k: int = 3) -> pl.DataFrame:
    return negatives(queries, SHOP, k, {"uniform": 0.5, "popular": 0.5}, retrieved=None, seed=7)


def test_a_pair_is_what_was_borrowed_before_what_came_next_and_what_might_have_come():
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), rejected(), round=2)
    assert pairs.schema == pl.Schema(PAIRS_SCHEMA)
    first = pairs.row(0, named=True)
    assert first["prompt"] == " Heat (1995)\n Alien (1979)\n"
    assert first["chosen"] == " Up (2009)"
    assert (first["query"], first["user"], first["template"], first["round"]) == (11, 0, "movies/lines@1", 2)
    assert first["rejected"] == [f" {TITLES[item]}" for item in first["rejected_items"]]
    assert pairs["query"].to_list() == [11, 12, 13]
    assert pairs["kept"].to_list() == [2, 3, 4]
    starts, ends = first["titles"][::2], first["titles"][1::2]
    assert [first["prompt"][a:b] for a, b in zip(starts, ends, strict=True)] == ["Heat (1995)", "Alien (1979)"]


def test_nothing_after_the_position_is_in_the_prompt():
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), rejected())
    for prompt, query in zip(pairs["prompt"], QUERIES.iter_rows(named=True), strict=True):
        later = BORROWED[query["user"]][query["position"] :]
        assert not any(TITLES[item] in prompt for item in later)


def test_token_counts_are_those_of_the_trainer():
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), rejected())
    for row in pairs.iter_rows(named=True):
        read = [encode(LINES, row["prompt"], answer, eos=True) for answer in (row["chosen"], *row["rejected"])]
        assert row["prompt_tokens"] == len(read[0][0])
        assert row["longest"] == max(len(prompt) + len(answer) for prompt, answer in read)


def test_provenance_travels_with_every_rejected_film():
    negs = rejected()
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), negs)
    assert pairs["rejected_items"].to_list() == negs["items"].to_list()
    assert pairs["rejected_from"].to_list() == negs["source"].to_list()
    assert pairs["rejected_rank"].to_list() == [[None] * 3] * 3


def test_letters_are_those_of_the_listed_candidates():
    pairs = build_pairs(QUERIES, SHOP, letter_encoder(), rejected(), seed=3)
    for row in pairs.iter_rows(named=True):
        listed = dict(line.split(". ", 1) for line in row["prompt"].splitlines() if line[1:3] == ". ")
        assert listed[row["chosen"].strip()] == TITLES[row["chosen_item"]]
        shown = [listed[letter.strip()] for letter in row["rejected"]]
        assert shown == [TITLES[item] for item in row["rejected_items"]]


def test_no_letter_is_likelier_than_another_to_be_the_chosen():
    films = BORROWED[0]
    queries = asked([(query, 0, films, 3) for query in range(600)], fold="train")
    chosen = build_pairs(queries, SHOP, letter_encoder(), rejected(queries), seed=3)["chosen"]
    counts = np.array([(chosen == f" {letter}").sum() for letter in "ABCD"])
    assert counts == pytest.approx(150, abs=5 * np.sqrt(600 * 3 / 16))


def test_the_slot_of_the_chosen_does_not_depend_on_which_film_it_is():
    films = BORROWED[1]
    slots = set()
    for place in range(1, len(films)):
        queries = asked([(40, 1, films, place)], fold="train")
        slots.add(build_pairs(queries, SHOP, letter_encoder(), rejected(queries), seed=3)["chosen"][0])
    assert len(slots) == 1


def test_exploded_has_a_row_for_every_rejected_film():
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), rejected())
    rows = exploded(pairs)
    assert rows.height == 9
    assert rows["rejected"].to_list() == [text for texts in pairs["rejected"].to_list() for text in texts]
    assert rows["rejected_item"].to_list() == [item for items in pairs["rejected_items"].to_list() for item in items]
    assert rows["prompt"].to_list() == [prompt for prompt in pairs["prompt"] for _ in range(3)]


def test_negatives_that_hold_the_target_or_are_missing_are_refused():
    negs = rejected()
    with pytest.raises(DataFault, match="1 queries have no negatives, first query 13"):
        build_pairs(QUERIES, SHOP, lines_encoder(), negs[:2])
    poisoned = negs.with_columns(items=pl.lit([9, 2, 10], dtype=pl.List(pl.Int32)))
    with pytest.raises(DataFault, match="query 11 has its target, item 2, among its negatives"):
        build_pairs(QUERIES, SHOP, lines_encoder(), poisoned)


def test_a_template_that_cannot_fit_stops_the_pairs():
    encoder = Encoder(CHAT, load_template("movies/next-title"), SHOP.texts, 8, Answer())
    with pytest.raises(PromptFault, match=r"with no history at all, and prompt\.budget is 8"):
        build_pairs(QUERIES, SHOP, encoder, rejected())


def test_no_queries_give_no_pairs():
    none = build_pairs(QUERIES.clear(), SHOP, lines_encoder(), rejected().clear())
    assert none.schema == pl.Schema(PAIRS_SCHEMA)
    assert exploded(none).height == 0
