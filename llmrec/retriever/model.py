"""The retriever as a ranker: scores after histories, and states that follow users.

Letters of shapes: b users, l items of a history, d width, v items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llmrec.errors import ModelFault
from llmrec.retriever.ann import Approximate, Kind
from llmrec.retriever.batches import alike, chains, gaps, padded
from llmrec.retriever.layout import Layout
from llmrec.retriever.saved import Saved
from llmrec.retriever.states import State
from llmrec.retriever.topk import Found, topk

POSITIONS = 1 << 12  # items, padding included, that go through the blocks at once when nothing is learned
SEGMENT = 1 << 11  # items of one history at once; a longer one is continued from its state

Items = Sequence[int] | np.ndarray
Times = Sequence[np.ndarray] | None


class Retriever(Saved):
    """Scores every item of a catalogue as the next of a history; follows a user event by event.

    Contexts are item codes, oldest first. A retriever that looks at the clock (`time_scale`) is also given `times`, in
    seconds: one array a context, at least as long, nan where a moment is not known. Others do not look at them.
    """

    name = "retriever"

    def scores(self, contexts: Sequence[np.ndarray], times: Times = None) -> np.ndarray:
        """One row a history, one column an item: (b, v) float32, higher is better. Raises ModelFault as `vectors`."""
        return self._scored(self.vectors(contexts, times))

    def best(
        self,
        contexts: Sequence[np.ndarray],
        k: int,
        times: Times = None,
        *,
        masked: bool = True,
        index: Approximate | None = None,
    ) -> Found:
        """The first `k` items after each history, its own left out where `masked`, and whatever ties with the k-th.

        Exact, and never b x v at once; or what an `index` of these weights finds. Raises ModelFault as `vectors`, and
        on an index of other weights.
        """
        return self._best(self.vectors(contexts, times), k, contexts if masked else None, index)

    @torch.no_grad()
    def vectors(self, contexts: Sequence[np.ndarray], times: Times = None) -> Tensor:
        """What is expected after each history: (b, d).

        Contexts of one user that go on from one another, in a row, are read once. Raises ModelFault on items that are
        not in the catalogue, on missing times, and on an empty history where there is no start vector.
        """
        times = self._clocked(times)
        self._check(contexts, times)
        vectors = self.items.weight.new_empty(len(contexts), self.section.d_model)
        chained = chains(contexts, times)
        with self._still():
            for some in alike([len(contexts[rows[-1]]) for rows in chained], POSITIONS):
                rows = np.concatenate([chained[i] for i in some])
                heads = [int(chained[i][-1]) for i in some]
                if len(contexts[heads[-1]]) > SEGMENT:
                    few = None if times is None else [times[row] for row in rows]
                    vectors[rows] = self.state([contexts[row] for row in rows], few).vectors
                    continue
                codes, layout = self._read([contexts[i] for i in heads], times and [times[i] for i in heads])
                if len(rows) == len(heads):
                    vectors[rows] = self.last(codes, layout)
                    continue
                owner = np.repeat(np.arange(len(some)), [len(chained[i]) for i in some])
                after = np.array([len(contexts[row]) for row in rows]) - (self.begin is None)
                vectors[rows] = self(codes, layout)[owner, after]
        return vectors

    @torch.no_grad()
    def state(self, contexts: Sequence[np.ndarray], times: Times = None) -> State:
        """What is remembered of each history, oldest item first; an empty one is a new user. Raises as `vectors`."""
        times = self._clocked(times)
        self._check(contexts, times)
        if not len(contexts):
            return self._new(0)
        states, order = [], []
        with self._still():
            for some in alike([len(context) for context in contexts], POSITIONS):
                histories = [np.asarray(contexts[i], dtype=np.int64) for i in some]
                few = None if times is None else [times[i] for i in some]
                states.append(self._continued(self._new(len(some)), histories, few, new=True))
                order.append(some)
        return State.join(states)[np.argsort(np.concatenate(order))]

    @torch.no_grad()
    def follow(self, state: State, items: Items | Sequence[Items], times: Items | Times = None) -> State:
        """The state after more items: a flat sequence where the state holds one user, else one sequence a user.

        The same numbers as the whole history at once would give, to 1e-4. Raises ModelFault on a state of other weights
        and on items that are not in the catalogue.
        """
        self._ours(state)
        flat = len(state) == 1 and all(np.ndim(item) == 0 for item in items)
        more = [np.asarray(row, dtype=np.int64).reshape(-1) for row in ([items] if flat else items)]
        rows = None if times is None else [times] if flat else times
        when = self._clocked(None if rows is None else [np.asarray(row, dtype=np.float64) for row in rows])
        if len(more) != len(state):
            raise ModelFault(
                f"state: holds {len(state)} users and got items for {len(more)}; give one sequence a user."
            )
        self._check(more, when, new=False)
        with self._still():
            return self._continued(state, more, when, new=False)

    def scores_from(self, state: State) -> np.ndarray:
        """As `scores`, from states: (b, v) float32."""
        return self._scored(state.vectors)

    def best_from(self, state: State, k: int, *, index: Approximate | None = None) -> Found:
        """As `best`, from states: what each has seen is left out. Raises ModelFault on a state of other weights."""
        self._ours(state)
        return self._best(state.vectors, k, state.seen, index)

    def index(self, kind: Kind | None = None) -> Approximate:
        """The items as these weights have them, for a search that is quicker than exact. Raises as `Approximate`."""
        with torch.no_grad():
            return Approximate(self.compared(), kind=kind, bias=self.item_bias, model=self.fingerprint)

    def load_state(self, path: Path) -> State:
        """A state that `State.save` wrote. Raises ModelFault when it is damaged, or not of these weights."""
        state = State.load(path)
        self._ours(state)
        wanted = [part.shape[1:] for layer in self.start(1) for part in layer]
        if [part.shape[1:] for layer in state.layers for part in layer] != wanted:
            raise ModelFault(f"{path}: its parts have shapes that these weights do not make. Make a new state.")
        layers = tuple(tuple(part.to(self.device) for part in layer) for layer in state.layers)
        return State(layers, state.vectors.to(self.device), state.clock, state.seen, state.model)

    def _scored(self, vectors: Tensor) -> np.ndarray:
        with torch.no_grad():
            scores = vectors @ self.compared().T
            if self.item_bias is not None:
                scores = scores + self.item_bias
            return np.asarray(scores.float().cpu().numpy())

    def _best(self, vectors: Tensor, k: int, seen: Sequence[np.ndarray] | None, index: Approximate | None) -> Found:
        with torch.no_grad():
            if index is not None:
                if index.model != self.fingerprint:
                    raise ModelFault("index: made of other weights, or by hand. Build one of these: `index`.")
                return index.topk(vectors, k, seen=seen)
            return topk(vectors, self.compared(), k, seen=seen, bias=self.item_bias)

    def _ours(self, state: State) -> None:
        if state.model != self.fingerprint:
            raise ModelFault(
                f"state: made by weights {state.model}, and these are {self.fingerprint}. States do not outlive a "
                "refit: make a new one from the history, with `state`."
            )

    def _new(self, rows: int) -> State:
        """Users of whom nothing is known, before even the start vector."""
        vectors = self.items.weight.new_zeros(rows, self.section.d_model)
        clock = torch.full((rows,), torch.nan, dtype=torch.float64)
        return State(self.start(rows), vectors, clock, (np.empty(0, np.int64),) * rows, self.fingerprint)

    def _continued(self, state: State, histories: list[np.ndarray], times: Times, *, new: bool) -> State:
        """States after more items, the start vector before them if the users are new."""
        new = new and self.begin is not None
        for start in range(0, max(max((len(h) for h in histories), default=0), int(new)), SEGMENT):
            cut = slice(start, start + SEGMENT)
            some = [h[cut] for h in histories]
            when = None if times is None else [t[: len(h)][cut] for t, h in zip(times, histories, strict=True)]
            codes, layout = self._read(some, when, state.clock.tolist(), begin=new and start == 0)
            vectors, layers = self.extend(codes, state.layers, layout)
            if layout.lengths is not None:
                vectors = torch.where((layout.lengths > 0)[:, None], vectors, state.vectors)
            clock = state.clock
            if when is not None:
                last = [t[-1] if len(t) else was for t, was in zip(when, clock.tolist(), strict=True)]
                clock = torch.tensor(last, dtype=torch.float64)
            state = State(layers, vectors, clock, state.seen, state.model)
        seen = tuple(np.concatenate([was, more]) for was, more in zip(state.seen, histories, strict=True))
        return State(state.layers, state.vectors, state.clock, seen, state.model)

    def _read(
        self, histories: list[np.ndarray], times: Times, clock: Sequence[float] | None = None, *, begin: bool = True
    ) -> tuple[Tensor, Layout]:
        """Histories as codes (b, l) on the device, the start vector's first where there is one, and their layout."""
        first = [[self.begin] if begin and self.begin is not None else []]
        codes, lengths = padded([np.concatenate([*first, h]) for h in histories])
        waits = None
        if times is not None and self.section.time_scale is not None:
            waited = [
                gaps(t[: len(h)], self.section.time_scale, np.nan if clock is None else clock[row])
                for row, (t, h) in enumerate(zip(times, histories, strict=True))
            ]
            nothing = np.zeros(len(first[0]), dtype=np.float32)
            waits = padded([np.concatenate([nothing, wait]) for wait in waited], dtype=np.float32)[0]
        # Where nothing is padding nothing needs to be told apart, which is much of the work of one event.
        even = codes.shape[1] > 0 and bool((lengths == codes.shape[1]).all())
        return codes.to(self.device), Layout(None if even else lengths, gaps=waits).to(self.device)

    def _check(self, histories: Sequence[np.ndarray], times: Times, *, new: bool = True) -> None:
        for row, history in enumerate(map(np.asarray, histories)):
            unknown = history[(history < 0) | (history >= self.n_items)]
            if len(unknown):
                raise ModelFault(
                    f"history {row}: item {unknown[0]} is not in the catalogue; its {self.n_items:,} items have codes "
                    f"0 to {self.n_items - 1}. Leave it out, or fit the retriever on a catalogue that has it."
                )
            if new and self.begin is None and not len(history):
                raise ModelFault(
                    f"history {row} is empty, and block: mamba4rec, as published, has no answer to that. Give at least "
                    "one item, or fit block: gated, which begins every history with a start vector."
                )
            if self.section.time_scale is not None and (times is None or len(times[row]) < len(history)):
                raise ModelFault(
                    f"history {row}: {len(history)} items and {0 if times is None else len(times[row])} times. This "
                    "retriever looks at the clock (retriever.time_scale): give the moment of each item, nan if unknown."
                )

    def _clocked(self, times: Times) -> Times:
        """The times, if they are looked at."""
        return None if self.section.time_scale is None else times

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Without dropout, whatever the mode."""
        if not self.training:  # setting the mode of every module takes longer than one event through them
            yield
            return
        self.eval()
        try:
            yield
        finally:
            self.train()
