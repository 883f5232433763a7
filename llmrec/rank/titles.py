"""Titles as answers: candidates of every table, and the search of the catalogue, branch off one reading of a prompt."""

from __future__ import annotations

from functools import cached_property

import polars as pl
from transformers import PreTrainedModel

from llmrec.columns import QUERY
from llmrec.data.larder import Larder
from llmrec.errors import PromptFault
from llmrec.language.reading import Read
from llmrec.language.search import beam, top_k
from llmrec.language.tree import Node, build_tree, choices
from llmrec.progress import track
from llmrec.prompts.details import details_of
from llmrec.prompts.encoding import Encoder
from llmrec.rank.language import LanguageRanker, Lists, Ranked, Search
from llmrec.rank.scores import Choices, Ids, Scores, score

RUN, LARGE = 3, 1 << 16  # tokens read at once in a search where a vocabulary is so large that logits cost most of it
WIDTH, CELLS = 16, 1 << 28  # nodes a prompt that one call opens at most, and their logits: 1 GB of float32


class TitleRanker(LanguageRanker):
    """Ranks by the likelihood of titles, under every rule of `llmrec.rank.scores` side by side."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, larder: Larder) -> None:
        super().__init__(model, encoder, larder)
        self._known: dict[Ids, float] = {}
        try:
            self._bare: list[int] | None = encoder.prompt([]).ids
        except PromptFault:  # this template cannot stand without a history
            self._bare = None
        self.rules = ("sum", "mean", "ghost_free") if self._bare is None else ("sum", "mean", "pmi", "ghost_free")

    @cached_property
    def tree(self) -> Node:
        """The catalogue's titles."""
        large = self.model.get_output_embeddings().weight.shape[0] > LARGE
        titles = self.encoder.answers_ids(range(len(self.encoder.texts)))
        return build_tree(titles, longest=RUN if large else None)

    @cached_property
    def choices(self) -> Choices:
        """Where in each title another could have begun."""
        return choices(self.tree)

    def _rank(self, into: Ranked, queries: pl.DataFrame, lists: Lists, search: Search | None, words: str) -> None:
        ids, contexts = queries[QUERY].to_list(), self.larder.contexts(queries)
        told = details_of(queries, self.larder, self.encoder.template)
        prompts = [prompt.ids for prompt in self.encoder.prompts(contexts, details=told)]
        found = self._batches(prompts)
        for some in track(found, words) if words else found:
            mine = [prompts[i] for i in some]
            state = self._read(mine)
            for name, scores in into.tables.items():
                self._score(state, [ids[i] for i in some], [lists[name][i] for i in some], scores)
            if search is not None and into.catalogue is not None:
                seen = [frozenset(contexts[i].tolist() if search.masked else ()) for i in some]
                for i, best in zip(some, self._search(state, search, seen, into), strict=True):
                    by: dict[str, list[float]] = {search.rule: [number for number, _ in best]}
                    into.catalogue.add(ids[i], [item for _, item in best], by)
            into.spent(state, mine)

    def _search(
        self, state: Read, search: Search, seen: list[frozenset[int]], into: Ranked
    ) -> list[list[tuple[float, int]]]:
        k, rule = search.k, search.rule
        if search.width is not None:
            return beam(state, self.tree, k, hidden=seen, rule=rule, width=search.width, on_expand=into.opened)
        width = max(1, min(WIDTH, CELLS // (state.first.numel() * RUN)))
        return top_k(state, self.tree, k, hidden=seen, rule=rule, width=width, on_expand=into.opened)

    def _score(self, state: Read, ids: list[int], lists: list[list[int]], into: Scores) -> None:
        answers = [[tuple(answer) for answer in self.encoder.answers_ids(items)] for items in lists]
        said = score(state, answers, self.choices)
        prior = self._prior({answer for row in answers for answer in row})
        for query, items, row, known in zip(ids, lists, answers, said, strict=True):
            by = {
                "sum": [known[answer].sum for answer in row],
                "mean": [known[answer].sum / len(answer) for answer in row],
                "pmi": [known[answer].sum - prior.get(answer, 0.0) for answer in row],
                "ghost_free": [known[answer].ghost_free for answer in row],
            }
            into.add(query, items, {rule: by[rule] for rule in self.rules})

    def _prior(self, answers: set[Ids]) -> dict[Ids, float]:
        """How likely answers are without a history; each is weighed once. Empty where no prompt can say."""
        new = sorted(answers - self._known.keys())
        if new and self._bare is not None:
            [said] = score(self._read([self._bare]), [new])
            self._known.update((answer, one.sum) for answer, one in said.items())
        return self._known
