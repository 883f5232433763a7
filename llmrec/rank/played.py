"""What an adapter between two rounds would recommend to the training queries of the next: its own mistakes, to learn
from."""

from __future__ import annotations

from typing import Any

import polars as pl
from transformers import PreTrainedModel

from llmrec.data.larder import Larder
from llmrec.language.load import refuse_strangers
from llmrec.rank.arm import bounded
from llmrec.rank.language import Search
from llmrec.rank.titles import TitleRanker
from llmrec.recipe.sections import Recipe


def played(
    model: PreTrainedModel,
    encoder: Any,
    larder: Larder,
    queries: pl.DataFrame,
    recipe: Recipe,
    *,
    k: int,
    rule: str,
    ranker: str,
    words: str,
) -> pl.DataFrame:
    """A ranking of the catalogue's first `k` for each query, what its context holds left out.

    Searched by `rule` where that bounds a search, else by `sum`, as when the catalogue is ranked at the end.
    """
    refuse_strangers(encoder.tokenizer, model)
    search = Search(k, bounded(rule), recipe.answer.beam)
    said = TitleRanker(model, encoder, larder).rank(queries, {}, search=search, words=f"{words}: training queries")
    assert said.catalogue is not None
    return said.catalogue.ranking(search.rule, ranker=ranker, seed=recipe.seed)
