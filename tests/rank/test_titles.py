"""A language model as a ranker says what reading each title behind each prompt, whole, would say."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import PreTrainedModel

from llmrec.data.larder import Larder
from llmrec.errors import DataFault, PromptFault, RankingFault
from llmrec.language.tree import choices
from llmrec.prompts.encoding import Encoder
from llmrec.rank import language
from llmrec.rank import scores as scoring
from llmrec.rank.language import Ranked, Search
from llmrec.rank.titles import TitleRanker
from tests.rank.library import offered
from tests.rank.speakers import OFFERED, TITLES, TWINS, WATCHED, films, passes, read_whole, scores, speaker, titles

RULES = ("sum", "mean", "pmi", "ghost_free")


def go(model: PreTrainedModel, encoder: Encoder, larder: Larder, search: Search | None = None) -> Ranked:
    ranker = TitleRanker(model, encoder, larder)
    return ranker.rank(larder.queries, {"uniform": offered(larder, *OFFERED)}, search=search)


def by_hand(model: PreTrainedModel, encoder: Encoder, larder: Larder, rule: str) -> dict[tuple[int, int], float]:
    """Every candidate's score from plain passes over prompt and answer."""
    tree = TitleRanker(model, encoder, larder).tree
    found = {}
    contexts = larder.contexts(larder.queries)
    for query, context, items in zip(larder.queries["query"], contexts, OFFERED, strict=True):
        for item in items:
            own = read_whole(model, encoder, context, item, items)
            if rule in ("sum", "mean"):
                found[query, item] = float(getattr(np, rule)(own))
            elif rule == "pmi":
                found[query, item] = sum(own) - sum(read_whole(model, encoder, np.array([], dtype=int), item, items))
            else:
                answer, score = encoder.answer_ids(item), 0.0
                for depth, allowed in choices(tree)[tuple(answer)]:
                    rivals = [
                        read_whole(model, encoder, context, other, items)[depth]
                        for token in allowed
                        for other in [_with(encoder, [*answer[:depth], token])]
                    ]
                    score += own[depth] - float(np.logaddexp.reduce(rivals))
                found[query, item] = score
    return found


def _with(encoder: Encoder, beginning: list[int]) -> int:
    """Some item whose title's tokens begin so."""
    return next(i for i in range(len(TITLES)) if encoder.answer_ids(i)[: len(beginning)] == beginning)


@pytest.mark.parametrize("family", ["llama", "mamba2", "mamba"])
@pytest.mark.parametrize("rule", RULES)
def test_a_candidate_scores_as_its_whole_sequence_does(family: str, rule: str) -> None:
    larder, encoder = films(), titles()
    model = speaker(encoder.tokenizer, family)
    found = scores(go(model, encoder, larder).tables["uniform"].ranking(rule, ranker="lm", seed=7))
    whole = by_hand(model, encoder, larder, rule)
    assert found.keys() == whole.keys()
    assert list(found.values()) == pytest.approx([whole[key] for key in found], abs=2e-4)


@pytest.mark.parametrize("family", ["llama", "mamba2", "mamba"])
def test_equal_titles_tie_exactly(family: str) -> None:
    larder, encoder = films(), titles()
    said = go(speaker(encoder.tokenizer, family), encoder, larder, Search(len(TITLES)))
    assert said.catalogue is not None
    rankings = [said.tables["uniform"].ranking(by, ranker="lm", seed=7) for by in RULES]
    for ranking in [*rankings, said.catalogue.ranking("sum", ranker="lm", seed=7)]:
        found = scores(ranking)
        assert found[100, TWINS[0]] == found[100, TWINS[1]]
        assert len(set(found.values())) > len(found) / 2


@pytest.mark.parametrize("k", [1, 3, 9])
@pytest.mark.parametrize("rule", ["sum", "ghost_free"])
def test_the_catalogue_is_every_unseen_title_scored(k: int, rule: language.Rule) -> None:
    larder, encoder = films(), titles()
    model = speaker(encoder.tokenizer)
    unseen = [[item for item in range(len(TITLES)) if item not in watched[:-1]] for watched in WATCHED]
    ranker = TitleRanker(model, encoder, larder)
    everything = ranker.rank(larder.queries, {"all": offered(larder, *unseen)})
    whole = everything.tables["all"].ranking(rule, ranker="lm", seed=7)
    said = go(model, encoder, larder, Search(k, rule))
    assert said.catalogue is not None
    found = scores(said.catalogue.ranking(rule, ranker="lm", seed=7))
    for query in larder.queries["query"]:
        asked = whole.filter(query=query).sort("score", descending=True)
        least = asked["score"][min(k, asked.height) - 1]
        first = scores(asked.filter(pl.col("score") >= least))
        assert {key: value for key, value in found.items() if key[0] == query} == pytest.approx(first, abs=2e-4)


def test_prompts_are_read_once_and_their_candidates_and_the_search_branch_off() -> None:
    encoder = titles()
    model = speaker(encoder.tokenizer)
    with passes(model) as seen:
        said = go(model, encoder, films())
    assert seen == [3, 3, 1, 1]  # three prompts, their packed rows; the prompt without a history, and its titles
    assert said.tokens["prompt"] == sum(len(encoder.prompt(watched[:-1]).ids) for watched in WATCHED)


def test_a_template_that_needs_a_history_goes_without_pmi(monkeypatch: pytest.MonkeyPatch) -> None:
    larder, encoder = films(), titles()
    inner = encoder.prompt

    def needy(context: Any) -> Any:
        if not len(context):
            raise PromptFault("nothing to say")
        return inner(context)

    monkeypatch.setattr(encoder, "prompt", needy)
    ranker = TitleRanker(speaker(encoder.tokenizer), encoder, larder)
    assert ranker.rules == ("sum", "mean", "ghost_free")
    said = ranker.rank(larder.queries, {"uniform": offered(larder, *OFFERED)})
    assert set(said.tables["uniform"].by) == set(ranker.rules)


@pytest.mark.parametrize(("tokens", "cells"), [(1, 1 << 25), (1 << 14, 1), (1, 1)])
def test_small_batches_say_the_same(tokens: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    larder, encoder = films(), titles()
    model = speaker(encoder.tokenizer)
    whole = go(model, encoder, larder, Search(4))
    monkeypatch.setitem(language.TOKENS, "cpu", tokens)
    monkeypatch.setattr(scoring, "CELLS", cells)
    with passes(model) as seen:
        parts = go(model, encoder, larder, Search(4))
    assert len(seen) > 5
    assert whole.catalogue is not None
    assert parts.catalogue is not None
    for rule in RULES:
        a, b = (scores(said.tables["uniform"].ranking(rule, ranker="lm", seed=7)) for said in (whole, parts))
        assert a == pytest.approx(b, abs=2e-4)
    a, b = (scores(said.catalogue.ranking("sum", ranker="lm", seed=7)) for said in (whole, parts))  # type: ignore[union-attr]
    assert a == pytest.approx(b, abs=2e-4)


def test_tables_of_several_lengths_are_scored_off_one_reading() -> None:
    larder, encoder = films(), titles()
    model = speaker(encoder.tokenizer)
    tables = {"uniform": offered(larder, *OFFERED), "few": offered(larder, [2], [7, 1], [0, 3, 8])}
    said = TitleRanker(model, encoder, larder).rank(larder.queries, tables)
    uniform, few = (scores(said.tables[name].ranking("sum", ranker="lm", seed=7)) for name in tables)
    assert len(few) == 6
    assert few == pytest.approx({key: uniform[key] for key in few}, abs=2e-4)


def test_no_queries_cannot_be_ranked() -> None:
    larder, encoder = films(), titles()
    ranker = TitleRanker(speaker(encoder.tokenizer), encoder, larder)
    said = ranker.rank(larder.queries.head(0), {"uniform": offered(larder, *OFFERED).head(0)})
    with pytest.raises(RankingFault, match="there are no queries to rank"):
        said.tables["uniform"].ranking("sum", ranker="lm", seed=7)


RATINGS = [[4.0, 3.5, None], [1.0, 2.0, 3.0, 4.0], [5.0, 0.5]]


def rated_films() -> Larder:
    """The films, with what people gave them."""
    made = films()
    histories = made.histories.with_columns(ratings=pl.Series(RATINGS, dtype=pl.List(pl.Float32)))
    return Larder(histories, made.catalogue, made.queries, made.users)


@torch.no_grad()
def test_a_template_that_asks_for_ratings_reads_them_where_it_ranks() -> None:
    larder, encoder = rated_films(), titles(200, "movies/rated")
    model = speaker(encoder.tokenizer)
    said = go(model, encoder, larder).tables["uniform"].ranking("sum", ranker="rated", seed=1)
    contexts = larder.contexts(larder.queries)
    expected = {}
    for n, query in enumerate(larder.queries["query"]):
        words = [{"rating": "" if one is None else f"{one:g}"} for one in RATINGS[n][: len(contexts[n])]]
        [prompt] = encoder.prompts([contexts[n]], details=[words])
        assert f"{encoder.texts[contexts[n][0]]}: rated {RATINGS[n][0]:g}\n" in prompt.text
        for item in OFFERED[n]:
            answer = encoder.answer_ids(item)
            logps = model(torch.tensor([prompt.ids + answer])).logits[0].double().log_softmax(-1)
            at = len(prompt.ids) - 1
            expected[query, item] = sum(float(logps[at + m, token]) for m, token in enumerate(answer))
    assert scores(said) == pytest.approx(expected, abs=1e-3)


def test_where_the_data_have_no_ratings_that_is_said() -> None:
    encoder = titles(200, "movies/rated")
    with pytest.raises(DataFault, match=r"rated\.jinja: asks for item\.rating, and the data have no ratings"):
        go(speaker(encoder.tokenizer), encoder, films())
