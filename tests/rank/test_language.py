"""A language model as a ranker says what reading each title behind each prompt, whole, would say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import PreTrainedModel

from llmrec.columns import TEXT
from llmrec.data.larder import Larder
from llmrec.errors import RankingFault
from llmrec.language.tokenizer import build_tokenizer
from llmrec.prompts.encoding import Encoder
from llmrec.prompts.template import load_template
from llmrec.rank import language
from llmrec.rank.language import Ranked, rank_with
from llmrec.recipe.sections import Answer
from tests.language.families import small
from tests.prompts.readers import chat
from tests.rank.library import library, offered

TITLES = [
    "Heat (1995)", "Alien (1979)", "Aliens (1986)", "Up (2009)", "Big (1988)", "Jaws (1975)", "Jaws 2 (1978)",
    "Fargo (1996)", "Heat (1995)",
]  # fmt: skip
TWINS = (0, 8)
WATCHED = [[1, 3, 2], [4, 0, 5, 7], [6, 2]]
OFFERED = [[0, 2, 8, 5], [7, 8, 1, 6], [2, 0, 8, 3]]


def films() -> Larder:
    """Three people and nine films, two of which read alike."""
    made = library(WATCHED, books=len(TITLES))
    return Larder(made.histories, made.catalogue.with_columns(pl.Series(TEXT, TITLES)), made.queries, made.users)


def speaker(tokenizer: Any, family: str = "llama") -> PreTrainedModel:
    """A random model of this vocabulary, its weights large enough for scores to differ visibly."""
    return small(family, seed=3, vocabulary=len(tokenizer))


def titles(budget: int = 64) -> Encoder:
    tokenizer = build_tokenizer([f" {title}" for title in TITLES], 320)
    return Encoder(tokenizer, load_template("movies/lines"), TITLES, budget, Answer())


def letters() -> Encoder:
    return Encoder(chat(), load_template("movies/pick-letter"), TITLES, 400, Answer(style="letter", eos=False))


@torch.no_grad()
def read_whole(
    model: PreTrainedModel, encoder: Encoder, context: np.ndarray, item: int, offer: list[int]
) -> list[float]:
    """Log-probability of each of the answer's tokens, by one plain pass over prompt and answer."""
    listed = offer if encoder.style == "letter" else None
    prompt, answer = encoder.prompt(context, listed).ids, encoder.answer_ids(item, listed)
    logps = model(torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
    return [float(logps[len(prompt) + n - 1, token]) for n, token in enumerate(answer)]


def scores(ranking: pl.DataFrame) -> dict[tuple[int, int], float]:
    return {(query, item): score for query, item, score in ranking.select("query", "item", "score").iter_rows()}


def go(model: PreTrainedModel, encoder: Encoder, larder: Larder, k: int | None = None) -> Ranked:
    return rank_with(model, encoder, larder, larder.queries, {"uniform": offered(larder, *OFFERED)}, k=k)


@contextmanager
def passes(model: PreTrainedModel) -> Iterator[list[int]]:
    """Rows of every forward pass of the model in between."""
    seen: list[int] = []
    hook = model.register_forward_hook(lambda m, given, out: seen.append(len(given[0])))
    yield seen
    hook.remove()


@pytest.mark.parametrize("family", ["llama", "mamba2", "mamba"])
@pytest.mark.parametrize("by", ["sum", "mean"])
def test_a_candidate_scores_as_its_whole_sequence_does(family: str, by: str) -> None:
    larder, encoder = films(), titles()
    model = speaker(encoder.tokenizer, family)
    found = scores(go(model, encoder, larder).tables["uniform"].ranking(by, ranker="lm", seed=7))
    contexts = larder.contexts(larder.queries)
    whole = {
        (query, item): float(getattr(np, by)(read_whole(model, encoder, context, item, items)))
        for query, context, items in zip(larder.queries["query"], contexts, OFFERED, strict=True)
        for item in items
    }
    assert found.keys() == whole.keys()
    assert list(found.values()) == pytest.approx([whole[key] for key in found], abs=2e-4)


@pytest.mark.parametrize("family", ["llama", "mamba2", "mamba"])
def test_equal_titles_tie_exactly(family: str) -> None:
    larder, encoder = films(), titles()
    said = go(speaker(encoder.tokenizer, family), encoder, larder, k=len(TITLES))
    assert said.catalogue is not None
    rankings = [said.tables["uniform"].ranking(by, ranker="lm", seed=7) for by in ("sum", "mean")]
    for ranking in [*rankings, said.catalogue.ranking("sum", ranker="lm", seed=7)]:
        found = scores(ranking)
        assert found[100, TWINS[0]] == found[100, TWINS[1]]
        assert len(set(found.values())) > len(found) / 2


@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_catalogue_is_every_unseen_title_scored(k: int) -> None:
    larder, encoder = films(), titles()
    model = speaker(encoder.tokenizer)
    unseen = [[item for item in range(len(TITLES)) if item not in watched[:-1]] for watched in WATCHED]
    everything = rank_with(model, encoder, larder, larder.queries, {"all": offered(larder, *unseen)})
    whole = everything.tables["all"].ranking("sum", ranker="lm", seed=7)
    said = go(model, encoder, larder, k=k)
    assert said.catalogue is not None
    found = scores(said.catalogue.ranking("sum", ranker="lm", seed=7))
    for query in larder.queries["query"]:
        asked = whole.filter(query=query).sort("score", descending=True)
        least = asked["score"][min(k, asked.height) - 1]
        first = scores(asked.filter(pl.col("score") >= least))
        assert {key: value for key, value in found.items() if key[0] == query} == pytest.approx(first, abs=2e-4)


def test_prompts_are_read_once_and_their_candidates_and_the_search_branch_off() -> None:
    encoder = titles()
    model = speaker(encoder.tokenizer)
    with passes(model) as seen:
        go(model, encoder, films())
    assert seen == [3, 3]  # three prompts; three packed rows


def test_a_letter_is_read_off_the_prompt_in_one_pass() -> None:
    encoder = letters()
    model = speaker(encoder.tokenizer)
    with passes(model) as seen:
        go(model, encoder, films())
    assert seen == [3]


def test_a_letter_scores_as_its_whole_sequence_does() -> None:
    larder, encoder = films(), letters()
    model = speaker(encoder.tokenizer)
    found = scores(go(model, encoder, larder).tables["uniform"].ranking("mean", ranker="lm", seed=7))
    contexts = larder.contexts(larder.queries)
    for query, context, items in zip(larder.queries["query"], contexts, OFFERED, strict=True):
        for item in items:
            assert found[query, item] == pytest.approx(sum(read_whole(model, encoder, context, item, items)), abs=2e-4)


def test_letters_cannot_rank_the_catalogue_or_two_tables() -> None:
    larder, encoder = films(), letters()
    model, table = speaker(encoder.tokenizer), offered(larder, *OFFERED)
    with pytest.raises(RankingFault, match="a letter names a listed candidate"):
        rank_with(model, encoder, larder, larder.queries, {"uniform": table}, k=3)
    with pytest.raises(RankingFault, match="a letter names a listed candidate"):
        rank_with(model, encoder, larder, larder.queries, {"uniform": table, "two_stage": table})


@pytest.mark.parametrize(("tokens", "cells"), [(1, 1 << 25), (1 << 14, 1), (1, 1)])
def test_small_batches_say_the_same(tokens: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    larder, encoder = films(), titles()
    model = speaker(encoder.tokenizer)
    whole = go(model, encoder, larder, k=4)
    monkeypatch.setitem(language.TOKENS, "cpu", tokens)
    monkeypatch.setattr(language, "CELLS", cells)
    with passes(model) as seen:
        parts = go(model, encoder, larder, k=4)
    assert len(seen) > 5
    assert whole.catalogue is not None
    assert parts.catalogue is not None
    for one, other in [(whole.tables["uniform"], parts.tables["uniform"]), (whole.catalogue, parts.catalogue)]:
        a, b = (scores(said.ranking("sum", ranker="lm", seed=7)) for said in (one, other))
        assert a == pytest.approx(b, abs=2e-4)


def test_tables_of_several_lengths_are_scored_off_one_reading() -> None:
    larder, encoder = films(), titles()
    model = speaker(encoder.tokenizer)
    tables = {"uniform": offered(larder, *OFFERED), "few": offered(larder, [2], [7, 1], [0, 3, 8])}
    said = rank_with(model, encoder, larder, larder.queries, tables)
    uniform, few = (scores(said.tables[name].ranking("sum", ranker="lm", seed=7)) for name in tables)
    assert len(few) == 6
    assert few == pytest.approx({key: uniform[key] for key in few}, abs=2e-4)


def test_no_queries_cannot_be_ranked() -> None:
    larder, encoder = films(), titles()
    none = larder.queries.head(0)
    said = rank_with(speaker(encoder.tokenizer), encoder, larder, none, {"uniform": offered(larder, *OFFERED).head(0)})
    with pytest.raises(RankingFault, match="there are no queries to rank"):
        said.tables["uniform"].ranking("sum", ranker="lm", seed=7)
