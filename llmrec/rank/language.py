"""A language model as a ranker: candidates by the likelihood of their answers, the catalogue by exact search.

Prompts are read once a query; the candidates of every table, and the search, branch off the same reading. No text is
generated, and none is parsed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import torch
from transformers import PreTrainedModel

from llmrec.columns import ITEMS, QUERY
from llmrec.data.larder import Larder
from llmrec.errors import RankingFault
from llmrec.language.reading import Read, how, read
from llmrec.language.tree import build_tree, top_k
from llmrec.progress import note, track
from llmrec.prompts.encoding import Encoder
from llmrec.ranking import ranked

TOKENS = {"cpu": 1 << 12}  # prompt tokens read in one batch: more is slower there, and says less often how far it is
MANY = 1 << 14  # on anything else
RUN, LARGE = 3, 1 << 16  # tokens read at once in a search where a vocabulary is so large that logits cost most of it
CELLS = 1 << 25  # branch tokens x vocabulary scored in one batch: 128 MB of float32


@dataclass
class Scores:
    """Scores of one table, an entry a query: items, and the sum and mean of their answers' token log-probabilities."""

    query: list[np.ndarray] = field(default_factory=list)
    item: list[np.ndarray] = field(default_factory=list)
    sum: list[np.ndarray] = field(default_factory=list)
    mean: list[np.ndarray] = field(default_factory=list)

    def add(self, query: int, items: Sequence[int], sums: Sequence[float], lengths: Sequence[int]) -> None:
        """The scores of one query."""
        self.query.append(np.full(len(items), query))
        self.item.append(np.asarray(items))
        self.sum.append(np.asarray(sums, dtype=np.float64))
        self.mean.append(np.asarray(sums, dtype=np.float64) / np.asarray(lengths))

    def ranking(self, by: str, *, ranker: str, seed: int) -> pl.DataFrame:
        """The ranking table under `by`: sum or mean."""
        if not self.query:
            raise RankingFault(f"{ranker}: there are no queries to rank.")
        scores = self.sum if by == "sum" else self.mean
        return ranked(
            np.concatenate(self.query), np.concatenate(self.item), np.concatenate(scores), ranker=ranker, seed=seed
        )


@dataclass
class Ranked:
    """What a language model said: scores of each candidate table, the catalogue's first k, and what it cost."""

    tables: dict[str, Scores]
    catalogue: Scores | None
    seconds: float
    queries_per_second: float
    nodes_per_query: float | None


@torch.no_grad()
def rank_with(
    model: PreTrainedModel,
    encoder: Encoder,
    larder: Larder,
    queries: pl.DataFrame,
    candidates: dict[str, pl.DataFrame],
    *,
    k: int | None = None,
    words: str = "ranking",
) -> Ranked:
    """Scores every candidate table of `queries`, and with `k` the first k of the catalogue (titles only, exactly).

    Candidate tables have `query, items`. In letter style the prompt lists the candidates, so there is one table and no
    catalogue.
    """
    if encoder.style == "letter" and (k is not None or len(candidates) != 1):
        raise RankingFault(
            "answer.style is letter: a letter names a listed candidate, so the catalogue cannot be ranked with it."
        )
    note(f"{words}: prompts are read once, branches {HOW[how(model.config)]}")
    began = time.monotonic()
    ids = queries[QUERY].to_list()
    lists = {name: dict(zip(t[QUERY].to_list(), t[ITEMS].to_list(), strict=True)) for name, t in candidates.items()}
    contexts = larder.contexts(queries)
    offered = [next(iter(lists.values()))[q] for q in ids] if encoder.style == "letter" else None
    prompts = [prompt.ids for prompt in encoder.prompts(contexts, offered)]
    vocabulary = model.get_output_embeddings().weight.shape[0]
    longest = RUN if vocabulary > LARGE else None
    tree = build_tree(encoder.answers_ids(range(len(encoder.texts))), longest=longest) if k is not None else None
    tables, catalogue, nodes = {name: Scores() for name in candidates}, Scores(), 0

    def opened(count: int) -> None:
        nonlocal nodes
        nodes += count

    pad = encoder.tokenizer.pad_token_id
    for batch in track(_batches(prompts, TOKENS.get(model.device.type, MANY)), words):
        state = read(model, [prompts[i] for i in batch], pad=pad)
        for name, scores in tables.items():
            _score(state, encoder, [ids[i] for i in batch], [lists[name][ids[i]] for i in batch], vocabulary, scores)
        if tree is not None:
            seen = [frozenset(contexts[i].tolist()) for i in batch]
            found = top_k(state, tree, k or 0, hidden=seen, on_expand=opened)
            for i, best in zip(batch, found, strict=True):
                catalogue.add(ids[i], [item for _, item in best], [score for score, _ in best], [1] * len(best))
    seconds = time.monotonic() - began
    return Ranked(
        tables,
        catalogue if tree is not None else None,
        seconds,
        len(ids) / max(seconds, 1e-9),
        nodes / len(ids) if tree is not None and ids else None,
    )


HOW = {
    "packed": "as one packed row under a block mask",
    "forked": "off the prompt's forked state",
    "whole": "as whole sequences (this model family offers neither a block mask nor a state to fork)",
}


def _batches(prompts: list[list[int]], most: int) -> list[list[int]]:
    """Prompts of about one length together, `most` tokens a batch at most."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    batches: list[list[int]] = []
    for i in order:
        if not batches or (len(batches[-1]) + 1) * len(prompts[i]) > most:
            batches.append([])
        batches[-1].append(i)
    return batches


def _score(
    state: Read, encoder: Encoder, ids: list[int], lists: list[list[int]], vocabulary: int, into: Scores
) -> None:
    """Scores the candidates of a batch of queries, a slice of the lists at a time so that logits stay within CELLS."""
    answers = [encoder.answers_ids(items, items if encoder.style == "letter" else None) for items in lists]
    # Answers with the same tokens are scored once: equal titles must tie exactly.
    distinct = [list(dict.fromkeys(map(tuple, row))) for row in answers]
    longest = max((len(branch) for row in distinct for branch in row), default=1)
    width = max(1, CELLS // (vocabulary * longest * max(1, len(lists))))
    sums: list[dict[tuple[int, ...], float]] = [{} for _ in lists]
    for some in _slices(distinct, width):
        for i, said in enumerate(state.logps(some)):
            sums[i].update(zip(some[i], (float(branch.double().sum()) for branch in said), strict=True))
    for query, items, row, known in zip(ids, lists, answers, sums, strict=True):
        into.add(query, items, [known[tuple(branch)] for branch in row], [len(branch) for branch in row])


def _slices(rows: list[list[tuple[int, ...]]], width: int) -> Iterator[list[list[tuple[int, ...]]]]:
    for start in range(0, max(map(len, rows)), width):
        yield [row[start : start + width] for row in rows]
