"""Letters as answers: a prompt lists the candidates, and one forward pass says how likely each one's letter is.

Language models like some places of a list better than others, whatever stands there. So a list can be read in several
orders, turned by an equal step each time: every candidate then stands in as many places, evenly apart, and its
log-probabilities are averaged. A liking that adds to a place's logit cancels when there are as many orders as
candidates. How strong it is, is measured in any case (`Slots`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from transformers import PreTrainedModel

from llmrec.columns import QUERY
from llmrec.data.larder import Larder
from llmrec.errors import RankingFault
from llmrec.progress import track
from llmrec.prompts.details import details_of
from llmrec.prompts.encoding import Encoder
from llmrec.rank.language import LanguageRanker, Lists, Ranked, Search
from llmrec.rank.scores import score


class Slots:
    """Which places of a list a model likes: of all lists of the commonest length that it has read."""

    def __init__(self) -> None:
        self._logps: list[np.ndarray] = []

    def add(self, logps: list[float]) -> None:
        """The log-probabilities of one list's letters, in the order of the list."""
        self._logps.append(np.asarray(logps))

    def summary(self) -> dict[str, Any]:
        """{"slots", "lists", "first", "share", "spread"}: how often each place's letter is the likeliest, its mean
        probability among the list's letters, and how far apart the most and the least liked are in that."""
        lengths = [len(one) for one in self._logps]
        width = max(set(lengths), key=lengths.count)
        logps = np.stack([one for one in self._logps if len(one) == width])
        shares = np.exp(logps - np.logaddexp.reduce(logps, axis=1, keepdims=True)).mean(0)
        firsts = np.bincount(logps.argmax(1), minlength=width) / len(logps)
        return {
            "slots": width,
            "lists": len(logps),
            "first": [round(float(one), 4) for one in firsts],
            "share": [round(float(one), 4) for one in shares],
            "spread": round(float(shares.max() - shares.min()), 4),
        }


class LetterRanker(LanguageRanker):
    """Ranks listed candidates by their letters, each list read in `orders` orders."""

    rules = ("sum",)

    def __init__(self, model: PreTrainedModel, encoder: Encoder, larder: Larder, *, orders: int = 1) -> None:
        super().__init__(model, encoder, larder)
        self.orders, self.slots = orders, Slots()

    def _rank(self, into: Ranked, queries: pl.DataFrame, lists: Lists, search: Search | None, words: str) -> None:
        if search is not None:
            raise RankingFault(
                "answer.style is letter: a letter names a listed candidate, so the catalogue cannot be ranked with it."
            )
        ids, contexts = queries[QUERY].to_list(), self.larder.contexts(queries)
        told = details_of(queries, self.larder, self.encoder.template)
        for name, scores in into.tables.items():
            offers = [(i, order) for i, items in enumerate(lists[name]) for order in turned(items, self.orders)]
            made = self.encoder.prompts(
                [contexts[i] for i, _ in offers],
                [order for _, order in offers],
                told and [told[i] for i, _ in offers],
            )
            prompts = [prompt.ids for prompt in made]
            said: list[dict[int, list[float]]] = [{} for _ in ids]
            found = self._batches(prompts)
            for some in track(found, words) if words else found:
                state = self._read([prompts[n] for n in some])
                letters = [[tuple(one) for one in self.encoder.answers_ids(offers[n][1], offers[n][1])] for n in some]
                for n, row, known in zip(some, letters, score(state, letters), strict=True):
                    i, order = offers[n]
                    logps = [known[letter].sum for letter in row]
                    self.slots.add(logps)
                    for item, logp in zip(order, logps, strict=True):
                        said[i].setdefault(item, []).append(logp)
                into.spent(state, [prompts[n] for n in some])
            for query, items, known_ in zip(ids, lists[name], said, strict=True):
                scores.add(query, items, {"sum": [float(np.mean(known_[item])) for item in items]})


def turned(items: list[int], orders: int) -> list[list[int]]:
    """A list in so many orders, as itself first: each item stands in as many places, evenly apart.

    >>> turned([7, 8, 9, 5], 2)
    [[7, 8, 9, 5], [9, 5, 7, 8]]
    """
    orders = min(orders, len(items))
    return [items[step:] + items[:step] for step in (j * len(items) // orders for j in range(orders))]
