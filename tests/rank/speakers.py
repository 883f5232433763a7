"""Three people, nine films, and random language models that rank them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers import PreTrainedModel

from llmrec.columns import TEXT
from llmrec.data.larder import Larder
from llmrec.language.tokenizer import build_tokenizer
from llmrec.prompts.encoding import Encoder
from llmrec.prompts.template import load_template
from llmrec.recipe.sections import Answer
from tests.language.families import small
from tests.prompts.readers import chat
from tests.rank.library import library

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


def titles(budget: int = 64, template: str = "movies/lines") -> Encoder:
    tokenizer = build_tokenizer([f" {title}" for title in TITLES], 320)
    return Encoder(tokenizer, load_template(template), TITLES, budget, Answer())


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
    """(query, item) -> score."""
    return {(query, item): score for query, item, score in ranking.select("query", "item", "score").iter_rows()}


@contextmanager
def passes(model: PreTrainedModel) -> Iterator[list[int]]:
    """Rows of every forward pass of the model in between."""
    seen: list[int] = []
    hook = model.register_forward_hook(lambda m, given, out: seen.append(len(given[0])))
    yield seen
    hook.remove()
