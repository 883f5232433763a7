from __future__ import annotations

import polars as pl

from llmrec.pairs.build import build_pairs
from llmrec.pairs.sample import sample_pair, sample_prompt, samples, samples_text
from tests.pairs.test_build import QUERIES, SHOP, letter_encoder, lines_encoder, rejected


def test_a_prompt_is_shown_with_what_it_takes():
    encoder = lines_encoder(budget=20)
    prompt = encoder.prompt(range(8))
    text = sample_prompt(encoder, range(8), target=9)
    assert f"prompt, movies/lines@1: {len(prompt.ids)} tokens of 20, {prompt.kept} of 8 items" in text
    assert prompt.text.removesuffix("\n") + "⏎" in text
    assert f"answer: ' Twelve Monkeys (1995)', {len(encoder.answer_ids(9))} tokens with the end token" in text


def test_a_prompt_without_a_target_has_no_answer():
    assert "answer:" not in sample_prompt(lines_encoder(), [1, 2])


def test_a_letter_takes_one_token():
    text = sample_prompt(letter_encoder(), [1, 2], candidates=[3, 4], target=4)
    assert text.endswith("answer: ' B', 1 token")


def test_a_pair_is_shown_with_where_its_rejected_films_come_from():
    row = build_pairs(QUERIES, SHOP, lines_encoder(), rejected()).row(1, named=True)
    text = sample_pair(row, 64)
    assert "user 1, query 12" in text
    assert f"chosen    {row['chosen']!r}" in text
    for answer, source in zip(row["rejected"], row["rejected_from"], strict=True):
        assert f"rejected  {answer!r}  [{source}]" in text
    assert f"take {row['longest']} tokens" in text


def test_a_very_long_answer_is_cut_where_people_read_it():
    row = build_pairs(QUERIES, SHOP, lines_encoder(), rejected()).row(1, named=True)
    text = sample_pair({**row, "chosen": " " + "x" * 9_999, "rejected": [" Up"] * 3}, 64)
    assert f"chosen    ' {'x' * 299}'... (10,000 characters)\n" in text
    assert "rejected  ' Up'  [" in text


def test_there_is_an_easy_pair_and_one_of_every_source_with_its_best_find():
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), rejected())
    sources = pl.Series([["uniform"] * 3, ["uniform", "popular", "mined"], ["mined", "uniform", "popular"]])
    ranks = pl.Series([[None] * 3, [None, None, 9], [2, None, None]], dtype=pl.List(pl.Int32))
    pairs = pairs.with_columns(rejected_from=sources, rejected_rank=ranks)
    found = {one.why: one.pair["query"] for one in samples(pairs)}
    assert found == {"easy: all drawn uniformly": 11, "with one from mined": 13, "with one from popular": 12}
    text = samples_text(pairs, of=3_000, budget=64)
    assert "[mined, rank 2]" in text
    assert text.endswith("These are 3 of 3,000 pairs.\n")


def test_every_template_of_a_mixture_is_shown():
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), rejected())
    mixed = pairs.with_columns(
        template=pl.Series(["a@1", "b@1", "c@2"]), rejected_from=pl.Series([["popular"] * 3, *[["uniform"] * 3] * 2])
    )
    found = {one.why: one.pair["template"] for one in samples(mixed)}
    assert found == {"easy: all drawn uniformly": "b@1", "with one from popular": "a@1", "with c@2": "c@2"}


def test_no_pairs_are_said_to_be_none():
    none = build_pairs(QUERIES.clear(), SHOP, lines_encoder(), rejected().clear())
    assert samples(none) == []
    assert samples_text(none, of=0, budget=64) == "There are no pairs.\n"
