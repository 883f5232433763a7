"""Approximate search of the catalogue with FAISS, for catalogues where exact search is too slow. The extra is `ann`.

`llmrec.retriever.topk` needs no index and misses nothing: a million items of width 64 take it 12 to 24 milliseconds a
row on one core (`benchmarks/retriever_step.py`). An index is worth its building where many rows ask the same weights;
`Approximate.report` says what it costs and how much of the exact answer it gives.

Letters of shapes: b rows, v items, d width, m items asked of FAISS for each row.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from llmrec.errors import ModelFault
from llmrec.retriever.topk import Found, check, first_and_tied, flat_seen, topk

Kind = Literal["flat", "ivf", "hnsw"]

FEW = 50_000  # items up to which FAISS is asked to look at them all
SHARE = 8  # of ivf's lists, one in so many is looked into
SAMPLE = 128  # items a list is trained on; FAISS's 256 take twice as long for the same recall
LINKS, BUILD, SEARCH = 32, 80, 256  # hnsw: neighbours an item, and items kept in view while building and searching
CELLS = 1 << 24  # numbers of item vectors that are gathered at once for their exact scores: 64 MB
SECONDS = 0.5  # that a speed is measured for, at least


@dataclass(frozen=True)
class Report:
    """What an index gives and costs.

    `recall` is the share of each row's exact first k that the index found, as a mean over rows. `bytes` are those of
    the index as FAISS would write it. The speeds are of all rows asked at once, of the index and of exact search.
    """

    recall: float
    build_seconds: float
    bytes: int
    queries_per_second: float
    exact_queries_per_second: float


class Approximate:
    """An index of item vectors by inner product, asked as `topk` is.

    `kind` is `flat` (every item is looked at), `ivf` (items in lists around about sqrt(v) centres, an eighth of the
    lists looked into) or `hnsw` (a graph of neighbours, walked: built slowly, asked quickly); left out, `flat` up to
    50,000 items and `ivf` from there. `bias` (v,) is added to every row's scores. The same items and seed give the same
    index. It knows the vectors as they were: after a refit, build another. `model` is the fingerprint of the weights
    that the vectors are of, without which no retriever asks it.

    Raises ModelFault without FAISS, without items, and on item vectors that are not finite.
    """

    def __init__(
        self,
        items: Tensor,
        *,
        kind: Kind | None = None,
        bias: Tensor | None = None,
        seed: int = 0,
        model: str | None = None,
    ) -> None:
        faiss = _faiss()
        self.model = model
        self.items = items.detach().cpu().float()
        self.bias = bias.detach().cpu().float() if bias is not None else None
        if items.dim() != 2 or not len(items) or (bias is not None and bias.shape != items.shape[:1]):
            found = f"items are {tuple(items.shape)}" + (f", bias {tuple(bias.shape)}" if bias is not None else "")
            raise ModelFault(
                f"index: {found}; it needs (items, width), at least one item, and a bias for each or none."
            )
        # A bias is one more coordinate, of which every row has 1.
        self._keys = self.items if self.bias is None else torch.cat([self.items, self.bias[:, None]], 1)
        odd = (~self._keys.isfinite()).any(1).nonzero()
        if len(odd):
            raise ModelFault(
                f"index: the vector or bias of item {int(odd[0])} is not finite ({len(odd):,} such items). Was the "
                "model fitted to its end?"
            )
        self.kind: Kind = kind or ("flat" if len(items) <= FEW else "ivf")
        began = time.perf_counter()
        self._index = _BUILT[self.kind](faiss, self._keys.numpy(), seed)
        self.build_seconds = time.perf_counter() - began

    def topk(self, vectors: Tensor, k: int, *, seen: Sequence[np.ndarray] | None = None) -> Found:
        """As the exact `topk`, of the items that the index finds; their scores are exact.

        FAISS knows nothing of seen items, so it is asked for k and as many more as a row has seen at most, and those
        seen are struck out. Where it finds too few, the row gets what there is: fewer than k items, without a word.
        """
        vectors = vectors.detach().cpu().float()
        check(vectors, self.items, k, seen)
        rows, codes = flat_seen(seen or [], len(self.items))
        most = int(np.bincount(rows).max(initial=0))
        asked = min(k + most, len(self.items))
        queries = vectors if self.bias is None else torch.cat([vectors, vectors.new_ones(len(vectors), 1)], 1)
        odd = (~queries.isfinite()).any(1).nonzero()
        if len(odd):
            raise ModelFault(f"index: the vector of row {int(odd[0])} is not finite; nothing is near it.")
        items = self._index.search(queries.numpy(), asked, params=self._wide(asked))[1]  # (b, m), -1 where none was
        row, place = np.nonzero(items >= 0)
        item = items[row, place]
        scores = self._scores(queries, items)[row, place]
        new = ~np.isin(row * len(self.items) + item, rows * len(self.items) + codes)
        return first_and_tied(row[new], item[new], scores[new], k)

    def report(self, vectors: Tensor, k: int) -> Report:
        """Asks the index and exact search for the first k items of the same rows, and compares."""
        vectors, v = vectors.detach().cpu().float(), len(self.items)
        if not len(vectors):
            raise ModelFault("index: a report compares the answers to some rows, and there are none.")
        mine, speed = _timed(lambda: self.topk(vectors, k))
        exact, exact_speed = _timed(lambda: topk(vectors, self.items, k, bias=self.bias))
        hit = mine.rows[np.isin(mine.rows * v + mine.items, exact.rows * v + exact.items)]
        hits = np.bincount(hit, minlength=len(vectors)).clip(max=min(k, v))  # more where the k-th ties
        return Report(
            recall=float(hits.mean() / min(k, v)),
            build_seconds=self.build_seconds,
            bytes=int(_faiss().serialize_index(self._index).nbytes),
            queries_per_second=speed * len(vectors),
            exact_queries_per_second=exact_speed * len(vectors),
        )

    def _wide(self, asked: int) -> Any:
        """How far a graph is walked: further than what is asked, or its last items would be poor."""
        return _faiss().SearchParametersHNSW(efSearch=max(SEARCH, 2 * asked)) if self.kind == "hnsw" else None

    def _scores(self, queries: Tensor, items: np.ndarray) -> np.ndarray:
        """Exact scores of each row's items: (b, m); those of -1 mean nothing."""
        codes, scores = torch.from_numpy(items).clamp(min=0), torch.empty(items.shape)
        rows = max(1, CELLS // max(1, items.shape[1] * queries.shape[1]))
        for start in range(0, len(codes), rows):
            some = slice(start, start + rows)
            scores[some] = (self._keys[codes[some]] @ queries[some, :, None])[..., 0]  # (b, m, d) by (b, d, 1)
        odd = (~scores.isfinite()).nonzero()
        if len(odd):
            row, place = odd[0].tolist()
            raise ModelFault(
                f"index: row {row} scores item {codes[row, place]} with {scores[row, place]}; an order needs finite "
                "scores. Look for values that are far too large."
            )
        return scores.numpy()


def _faiss() -> Any:
    """FAISS, which ships no types; or ModelFault where it is not installed."""
    try:
        return importlib.import_module("faiss")
    except ImportError:
        raise ModelFault(
            "index: approximate search is FAISS's: pip install 'llmrec[ann]'. Exact search is `topk`."
        ) from None


def _flat(faiss: Any, keys: np.ndarray, seed: int) -> Any:
    index = faiss.IndexFlatIP(keys.shape[1])
    index.add(keys)
    return index


def _ivf(faiss: Any, keys: np.ndarray, seed: int) -> Any:
    """About sqrt(v) lists, none so short that FAISS would complain of too few items to train it on."""
    lists = max(1, min(int(len(keys) ** 0.5), len(keys) // 39))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(keys.shape[1]), keys.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.max_points_per_centroid = seed, SAMPLE
    index.nprobe = -(-lists // SHARE)
    index.train(keys)
    index.add(keys)
    return index


def _hnsw(faiss: Any, keys: np.ndarray, seed: int) -> Any:
    """FAISS seeds the graph's levels itself, but links items in the order in which its threads come by."""
    index = faiss.IndexHNSWFlat(keys.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD
    with _one_thread(faiss):
        index.add(keys)
    return index


_BUILT: dict[Kind, Callable[[Any, np.ndarray, int], Any]] = {"flat": _flat, "ivf": _ivf, "hnsw": _hnsw}


@contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _timed(search: Callable[[], Found]) -> tuple[Found, float]:
    """What a search finds, and how often a second it does."""
    found, times, began = search(), 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < SECONDS:
        search()
        times += 1
    return found, times / taken
