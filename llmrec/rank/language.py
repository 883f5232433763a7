"""A language model as a ranker: what titles and letters have in common.

Prompts are read once, and every answer branches off that reading. No text is generated, and none is parsed.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl
import torch
from transformers import PreTrainedModel

from llmrec.columns import ITEMS, QUERY
from llmrec.data.larder import Larder
from llmrec.language.reading import Read, how, read
from llmrec.language.search import Rule
from llmrec.progress import note
from llmrec.prompts.encoding import Encoder
from llmrec.rank.scores import Scores

TOKENS = {"cpu": 1 << 12}  # prompt tokens read in one batch: more is slower there, and says less often how far it is
MANY = 1 << 14  # on anything else
HOW = {
    "packed": "as one packed row under a block mask",
    "forked": "off the prompt's forked state",
    "whole": "as whole sequences (this model family offers neither a block mask nor a state to fork)",
}
Lists = dict[str, list[list[int]]]  # candidate table -> each query's candidates


@dataclass(frozen=True)
class Search:
    """How the catalogue is ranked: its first `k`, under a rule, exactly or with a beam of `width`.

    What the user has seen is left out where it is `masked`.
    """

    k: int
    rule: Rule = "sum"
    width: int | None = None
    masked: bool = True


@dataclass
class Ranked:
    """What a language model said: scores of each candidate table, the catalogue's first k, and what it cost."""

    tables: dict[str, Scores]
    catalogue: Scores | None
    queries: int
    seconds: float = 0.0
    nodes: int = 0
    """Nodes of the catalogue's tree that were opened, in all."""
    tokens: dict[str, int] = field(default_factory=lambda: {"prompt": 0, "read": 0, "asked": 0})
    """In all, of prompts, of branches that were read, and those whose log-probability was asked for."""

    def spent(self, state: Read, prompts: Sequence[Sequence[int]]) -> None:
        """Counts the tokens of one reading of these prompts, and of all that branched off it."""
        for kind, count in (("prompt", sum(map(len, prompts))), ("read", state.read), ("asked", state.asked)):
            self.tokens[kind] += count

    def opened(self, nodes: int) -> None:
        """Counts nodes of a search."""
        self.nodes += nodes


class LanguageRanker(ABC):
    """A model, how its answers are encoded, and the catalogue whose queries it ranks."""

    rules: tuple[str, ...]
    """How its answers can be scored; see `llmrec.rank.scores`."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, larder: Larder) -> None:
        self.model, self.encoder, self.larder = model, encoder, larder

    @torch.no_grad()
    def rank(
        self,
        queries: pl.DataFrame,
        candidates: dict[str, pl.DataFrame],
        *,
        search: Search | None = None,
        words: str = "",
    ) -> Ranked:
        """Scores every candidate table of `queries` and, if asked, searches the catalogue for each.

        Candidate tables have `query, items`. `words` stand beside the progress; without them none is shown.
        """
        if words:
            note(f"{words}: prompts are read once, branches {HOW[how(self.model.config)]}")
        began = time.monotonic()
        ids = queries[QUERY].to_list()
        lists: Lists = {}
        for name, table in candidates.items():
            offered = dict(zip(table[QUERY].to_list(), table[ITEMS].to_list(), strict=True))
            lists[name] = [offered[query] for query in ids]
        into = Ranked({name: Scores() for name in lists}, None if search is None else Scores(), len(ids))
        self._rank(into, queries, lists, search, words)
        into.seconds = time.monotonic() - began
        return into

    @abstractmethod
    def _rank(self, into: Ranked, queries: pl.DataFrame, lists: Lists, search: Search | None, words: str) -> None:
        """Fills `into`."""

    def _read(self, prompts: Sequence[list[int]]) -> Read:
        return read(self.model, prompts, pad=self.encoder.tokenizer.pad_token_id)

    def _batches(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        return batches([len(prompt) for prompt in prompts], TOKENS.get(self.model.device.type, MANY))


def batches(lengths: list[int], most: int) -> list[list[int]]:
    """Prompts of about one length together, `most` tokens a batch at most.

    >>> batches([5, 2, 4, 3], most=8)
    [[1, 3], [2], [0]]
    """
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not found or (len(found[-1]) + 1) * lengths[i] > most:
            found.append([])
        found[-1].append(i)
    return found
