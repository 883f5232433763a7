"""A letter is read off a prompt that lists the candidates; what a model likes of a place alone is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.errors import RankingFault
from llmrec.rank import letters as letters_module
from llmrec.rank.language import Search
from llmrec.rank.letters import LetterRanker, Slots, turned
from tests.rank.library import offered
from tests.rank.speakers import OFFERED, films, letters, passes, read_whole, scores, speaker


def test_a_letter_is_read_off_the_prompt_in_one_pass() -> None:
    larder, encoder = films(), letters()
    model = speaker(encoder.tokenizer)
    with passes(model) as seen:
        LetterRanker(model, encoder, larder).rank(larder.queries, {"uniform": offered(larder, *OFFERED)})
    assert seen == [3]


def test_a_letter_scores_as_its_whole_sequence_does() -> None:
    larder, encoder = films(), letters()
    model = speaker(encoder.tokenizer)
    said = LetterRanker(model, encoder, larder).rank(larder.queries, {"uniform": offered(larder, *OFFERED)})
    found = scores(said.tables["uniform"].ranking("sum", ranker="lm", seed=7))
    contexts = larder.contexts(larder.queries)
    for query, context, items in zip(larder.queries["query"], contexts, OFFERED, strict=True):
        for item in items:
            assert found[query, item] == pytest.approx(sum(read_whole(model, encoder, context, item, items)), abs=2e-4)


def test_several_orders_are_read_and_averaged() -> None:
    larder, encoder = films(), letters()
    model, table = speaker(encoder.tokenizer), {"uniform": offered(larder, *OFFERED)}
    with passes(model) as seen:
        both = LetterRanker(model, encoder, larder, orders=2).rank(larder.queries, table)
    assert sum(seen) == 6
    found = scores(both.tables["uniform"].ranking("sum", ranker="lm", seed=7))
    parts = []
    for step in (0, 2):
        lists = [items[step:] + items[:step] for items in OFFERED]
        said = LetterRanker(model, encoder, larder).rank(larder.queries, {"uniform": offered(larder, *lists)})
        parts.append(scores(said.tables["uniform"].ranking("sum", ranker="lm", seed=7)))
    assert found == pytest.approx({key: (parts[0][key] + parts[1][key]) / 2 for key in found}, abs=2e-4)


def test_two_tables_are_two_readings() -> None:
    larder, encoder = films(), letters()
    lists = {"uniform": offered(larder, *OFFERED), "two_stage": offered(larder, [5, 6], [2, 3], [7, 0])}
    said = LetterRanker(speaker(encoder.tokenizer), encoder, larder).rank(larder.queries, lists)
    assert len(scores(said.tables["two_stage"].ranking("sum", ranker="lm", seed=7))) == 6


def test_letters_cannot_rank_the_catalogue() -> None:
    larder, encoder = films(), letters()
    ranker = LetterRanker(speaker(encoder.tokenizer), encoder, larder)
    with pytest.raises(RankingFault, match="a letter names a listed candidate"):
        ranker.rank(larder.queries, {"uniform": offered(larder, *OFFERED)}, search=Search(3))


@given(st.integers(1, 12), st.integers(1, 15))
def test_every_item_stands_in_as_many_places_evenly_apart(count: int, orders: int) -> None:
    items = list(range(count))
    lists = turned(items, orders)
    assert lists[0] == items
    assert len(lists) == min(orders, count)
    for item in items:
        places = sorted(one.index(item) for one in lists)
        gaps = np.diff([*places, places[0] + count])
        assert len(set(places)) == len(lists)
        assert max(gaps) - min(gaps) <= 1


def test_a_liking_for_places_cancels_when_every_place_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose logits are worth of item + liking of place: read once it errs, turned through all places it not."""
    larder, encoder = films(), letters()
    worth = dict(enumerate([3.0, 1.0, 2.5, 0.5, 2.0, 1.5, 0.8, 1.2, 2.9]))
    liking = [0.0, 4.0, 0.0, 0.0]

    read_lists: list[list[int]] = []

    def said(state: Any, answers: Any) -> Any:
        return [
            {
                letter: type("Said", (), {"sum": worth[item] + liking[place]})
                for place, (letter, item) in enumerate(zip(row, order, strict=True))
            }
            for row, order in zip(answers, read_lists, strict=True)
        ]

    monkeypatch.setattr(letters_module, "score", said)
    monkeypatch.setattr(LetterRanker, "_read", lambda self, prompts: type("State", (), {"read": 0, "asked": 0}))
    monkeypatch.setattr(LetterRanker, "_batches", lambda self, prompts: [list(range(len(prompts)))])
    right = [sorted(items, key=lambda item: -worth[item]) for items in OFFERED]
    for orders, fooled in ((1, True), (4, False)):
        read_lists = [order for items in OFFERED for order in turned(items, orders)]
        ranker = LetterRanker(speaker(encoder.tokenizer), encoder, larder, orders=orders)
        ranked = ranker.rank(larder.queries, {"uniform": offered(larder, *OFFERED)})
        table = ranked.tables["uniform"].ranking("sum", ranker="lm", seed=7)
        lists = [table.filter(query=query)["item"].to_list() for query in larder.queries["query"]]
        assert (lists != right) is fooled
        assert ranker.slots.summary()["first"] == [0, 1, 0, 0]


def test_slots_are_summed_up() -> None:
    slots = Slots()
    slots.add([float(np.log(p)) for p in (0.7, 0.2, 0.1)])
    slots.add([float(np.log(p)) for p in (0.3, 0.6, 0.1)])
    slots.add([0.0])  # of another length
    assert slots.summary() == {
        "slots": 3, "lists": 2, "first": [0.5, 0.5, 0.0], "share": [0.5, 0.4, 0.1], "spread": 0.4,
    }  # fmt: skip
