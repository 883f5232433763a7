"""What a language model makes of answers, as one number each, by several rules side by side.

sum          log p(answer | prompt): the log-probabilities of its tokens added up; short titles are favoured
mean         the same over the number of tokens; titles with near-certain tokens are favoured
pmi          log p(answer | prompt) - log p(answer | a prompt without history): what the history adds, so that a
             title which is likely anyhow gains nothing (Holtzman et al. 2021, EMNLP, "Surface Form Competition")
ghost_free   the sum, each token renormalised over those that the catalogue allows there (llmrec.language.search)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from llmrec.errors import RankingFault
from llmrec.language.reading import Read
from llmrec.ranking import ranked

CELLS = 1 << 25  # branch tokens x vocabulary scored in one batch: 128 MB of float32
Ids = tuple[int, ...]
Choices = Mapping[Ids, list[tuple[int, list[int]]]]
"""llmrec.language.tree.choices"""


@dataclass
class Scores:
    """Scores of one table, an entry a query: its items, and a number each under every rule."""

    query: list[np.ndarray] = field(default_factory=list)
    item: list[np.ndarray] = field(default_factory=list)
    by: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, query: int, items: Sequence[int], by: Mapping[str, Sequence[float]]) -> None:
        """The scores of one query."""
        self.query.append(np.full(len(items), query))
        self.item.append(np.asarray(items))
        for rule, scores in by.items():
            self.by.setdefault(rule, []).append(np.asarray(scores, dtype=np.float64))

    def ranking(self, rule: str, *, ranker: str, seed: int) -> pl.DataFrame:
        """The ranking table under one rule."""
        if not self.query:
            raise RankingFault(f"{ranker}: there are no queries to rank.")
        query, item, scores = map(np.concatenate, (self.query, self.item, self.by[rule]))
        return ranked(query, item, scores, ranker=ranker, seed=seed)

    def table(self) -> pl.DataFrame:
        """query, item and a column a rule: the scores side by side."""
        columns = {"query": self.query, "item": self.item, **self.by}
        return pl.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})


def score(state: Read, answers: Sequence[Sequence[Ids]], choices: Choices | None = None) -> list[dict[Ids, Said]]:
    """Each prompt's answers, weighed: one dictionary a prompt that `state` has read.

    Answers with the same tokens are weighed once, so that equal titles tie exactly; and a slice of the lists at a time,
    so that logits stay within CELLS. `choices` adds what ghost-free scores need.
    """
    distinct = [list(dict.fromkeys(row)) for row in answers]
    longest = max((len(answer) for row in distinct for answer in row), default=1)
    width = max(1, CELLS // (state.first.shape[1] * longest * max(1, len(answers))))
    said: list[dict[Ids, Said]] = [{} for _ in answers]
    for some in _slices(distinct, width):
        for known, row, part in zip(said, some, _weighed(state, some, choices), strict=True):
            known.update(zip(row, part, strict=True))
    return said


@dataclass(frozen=True)
class Said:
    """The log-probability of an answer, plain and ghost-free."""

    sum: float
    ghost_free: float


def _weighed(state: Read, answers: list[list[Ids]], choices: Choices | None) -> list[list[Said]]:
    owner: list[int] = []
    depth: list[int] = []
    ids: list[int] = []
    flat = [(i, answer) for i, row in enumerate(answers) for answer in row]
    # What may begin an answer is the same for all, and each prompt has said it already.
    places = [[] if choices is None else [place for place in choices[answer] if place[0]] for _, answer in flat]
    for n, (_, answer) in enumerate(flat):
        owner += [n] * (len(answer) + sum(len(allowed) for _, allowed in places[n]))
        depth += [*range(len(answer)), *(d for d, allowed in places[n] for _ in allowed)]
        ids += [*answer, *(token for _, allowed in places[n] for token in allowed)]
    logps = state.ask(answers, owner, depth, ids).double().cpu().numpy()
    begun = _begun(state, choices)
    found, at = [], 0
    for (i, answer), chosen in zip(flat, places, strict=True):
        own = logps[at : at + len(answer)]
        at += len(answer)
        ghost_free = float(own[0]) - begun[i] if begun else 0.0
        for d, allowed in chosen:
            ghost_free += float(own[d] - np.logaddexp.reduce(logps[at : at + len(allowed)]))
            at += len(allowed)
        found.append(Said(float(own.sum()), ghost_free))
    parts = iter(found)
    return [[next(parts) for _ in row] for row in answers]


def _begun(state: Read, choices: Choices | None) -> list[float]:
    """The log of each prompt's probability that a title begins, where titles begin with more than one token."""
    first = next((allowed for places in (choices or {}).values() for d, allowed in places if d == 0), None)
    return [] if first is None else state.first[:, first].double().logsumexp(-1).tolist()


def _slices(rows: list[list[Ids]], width: int) -> Iterator[list[list[Ids]]]:
    for start in range(0, max(map(len, rows), default=0), width):
        yield [row[start : start + width] for row in rows]
