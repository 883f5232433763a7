from __future__ import annotations

import pytest

from llmrec.errors import DataFault
from llmrec.pairs.build import build_pairs
from llmrec.pairs.sample import sample_pair, sample_prompt
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
    encoder = lines_encoder()
    pairs = build_pairs(QUERIES, SHOP, encoder, rejected())
    text = sample_pair(pairs, encoder, 1)
    row = pairs.row(1, named=True)
    assert "pair 1 of 3: user 1, query 12" in text
    assert f"chosen    {row['chosen']!r}" in text
    for answer, source in zip(row["rejected"], row["rejected_from"], strict=True):
        assert f"rejected  {answer!r}  [{source}]" in text
    assert f"take {row['longest']} tokens" in text


def test_a_pair_that_is_not_there_is_said_so():
    encoder = lines_encoder()
    with pytest.raises(DataFault, match="there is no pair 9; the table has 3"):
        sample_pair(build_pairs(QUERIES, SHOP, encoder, rejected()), encoder, 9)
