"""The retriever: item vectors, a few blocks along the history, and a product with the same item vectors.

Letters of shapes: b users, l items of a history, d width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmrec.errors import ModelFault
from llmrec.files import replacing, write_json
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.batches import alike, chains, padded
from llmrec.retriever.block import Gated
from llmrec.retriever.mixers import MixerState
from llmrec.retriever.states import State

WEIGHTS, CONFIG = "model.safetensors", "config.json"
POSITIONS = 1 << 12  # items, padding included, that go through the blocks at once when nothing is learned
SEGMENT = 1 << 11  # items of one history at once; a longer one is continued from its state

Items = Sequence[int] | np.ndarray


class Retriever(nn.Module):
    """Scores every item of a catalogue as the next of a history; follows a user event by event.

    Every history begins with a start vector, so that the first item is learned like any other and an empty history has
    an answer. Nothing counts positions: a history may be longer than `max_length`, which bounds only what fitting sees
    at once.
    """

    name = "retriever"

    def __init__(self, n_items: int, section: Section) -> None:
        super().__init__()
        self.n_items, self.section = n_items, section
        self.items = nn.Embedding(n_items, section.d_model)
        self.begin = nn.Parameter(torch.randn(section.d_model) * section.d_model**-0.5)
        self.norm_in = nn.LayerNorm(section.d_model)
        self.dropout = nn.Dropout(section.dropout)
        self.blocks = nn.ModuleList(Gated(section) for _ in range(section.layers))
        self.norm_out = nn.LayerNorm(section.d_model)
        nn.init.normal_(self.items.weight, std=0.02)  # logits near 0: a wider start has to be unlearned first
        self._named: tuple[tuple[int, ...], str] | None = None

    def forward(self, items: Tensor) -> Tensor:
        """What each position expects next: (b, l) item codes to (b, l + 1, d), where t has seen the first t items.

        Causal: padding on the right (any code) changes nothing before it.
        """
        x = self._embedded(items, begin=True)
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.norm_out(x))

    def scores(self, contexts: Sequence[np.ndarray], times: np.ndarray | None = None) -> np.ndarray:
        """One row a history, one column an item: (b, n_items) float32, higher is better; `times` are not looked at.

        Contexts of one user that go on from one another, in a row, are read once. Raises ModelFault on items that are
        not in the catalogue.
        """
        self._check(contexts)
        vectors = self.begin.new_empty(len(contexts), len(self.begin))
        chained = chains(contexts)
        with torch.no_grad(), self._still():
            for some in alike([len(contexts[rows[-1]]) for rows in chained], POSITIONS):
                rows = np.concatenate([chained[i] for i in some])
                longest = [contexts[chained[i][-1]] for i in some]
                if len(longest[-1]) > SEGMENT:
                    vectors[rows] = self.state([contexts[row] for row in rows]).vectors
                    continue
                expected = self(padded(longest)[0].to(self.begin.device))  # (b, l + 1, d)
                owner = np.repeat(np.arange(len(some)), [len(chained[i]) for i in some])
                vectors[rows] = expected[owner, [len(contexts[row]) for row in rows]]
            return np.asarray((vectors @ self.items.weight.T).float().cpu().numpy())

    @torch.no_grad()
    def state(self, contexts: Sequence[np.ndarray]) -> State:
        """What is remembered of each history, oldest item first; an empty one is a new user.

        Raises ModelFault on items that are not in the catalogue.
        """
        self._check(contexts)
        states, order = [self._new(0)], [np.empty(0, np.int64)]
        with self._still():
            for some in alike([len(context) for context in contexts], POSITIONS):
                histories = [np.asarray(contexts[i], dtype=np.int64) for i in some]
                states.append(self._continued(self._new(len(some)), histories, begin=True))
                order.append(some)
        joined, back = State.join(states), torch.from_numpy(np.argsort(np.concatenate(order)))
        layers = tuple(tuple(part[back] for part in layer) for layer in joined.layers)
        return State(layers, joined.vectors[back], joined.model)

    @torch.no_grad()
    def follow(self, state: State, items: Items | Sequence[Items]) -> State:
        """The state after more items: a flat sequence where the state holds one user, else one sequence a user.

        The same numbers as the whole history at once would give, to 1e-4. Raises ModelFault on a state of other weights
        and on items that are not in the catalogue.
        """
        if state.model != self.fingerprint:
            raise ModelFault(
                f"state: made by weights {state.model}, and these are {self.fingerprint}. States do not outlive a "
                "refit: make a new one from the history, with `state`."
            )
        flat = len(state) == 1 and all(np.ndim(item) == 0 for item in items)
        more = [np.asarray(row, dtype=np.int64).reshape(-1) for row in ([items] if flat else items)]
        if len(more) != len(state):
            raise ModelFault(
                f"state: holds {len(state)} users and got items for {len(more)}; give one sequence a user."
            )
        self._check(more)
        with self._still():
            return self._continued(state, more, begin=False)

    @torch.no_grad()
    def scores_from(self, state: State) -> np.ndarray:
        """As `scores`, from states: (b, n_items) float32."""
        return (state.vectors @ self.items.weight.T).float().cpu().numpy()

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that say which weights these are."""
        versions = tuple(weight._version for weight in self.parameters())  # grows when a tensor is written to
        if self._named is None or self._named[0] != versions:
            digest = hashlib.sha256()
            for name, weight in self.state_dict().items():
                digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
            self._named = versions, digest.hexdigest()[:16]
        return self._named[1]

    def save(self, folder: Path) -> None:
        """Writes model.safetensors and, when that is whole, config.json."""
        with replacing(folder / WEIGHTS) as partial:
            save_file({name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}, partial)
        write_json({"n_items": self.n_items, "retriever": self.section.model_dump(mode="json")}, folder / CONFIG)

    @classmethod
    def load(cls, folder: Path, *, n_items: int | None = None) -> Retriever:
        """A saved retriever, ready to score. `n_items` is the size of the catalogue that it will be asked about.

        Raises ModelFault when files are missing or damaged, a weight is not finite, or the catalogue is another one.
        """
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            model = cls(int(config["n_items"]), Section.model_validate(config["retriever"]))
            weights = load_file(folder / WEIGHTS)
        except FileNotFoundError as fault:
            raise ModelFault(
                f"{fault.filename or folder}: not there. Fit the retriever first: llmrec retrieve."
            ) from None
        except (SafetensorError, ValidationError, ValueError, KeyError, TypeError) as fault:
            line = str(fault).splitlines()[0]
            raise ModelFault(
                f"{folder}: not a retriever, or damaged ({line}). Fit it again: llmrec retrieve."
            ) from None
        if n_items is not None and n_items != model.n_items:
            raise ModelFault(
                f"{folder}: fitted on a catalogue of {model.n_items:,} items, and this one has {n_items:,}. Item codes "
                "mean nothing elsewhere: fit the retriever on this catalogue."
            )
        shapes = {name: weight.shape for name, weight in model.state_dict().items()}
        if shapes != {name: weight.shape for name, weight in weights.items()}:
            raise ModelFault(f"{folder / WEIGHTS}: its tensors are not those that {CONFIG} describes. Fit it again.")
        for name, weight in weights.items():
            if not torch.isfinite(weight).all():
                raise ModelFault(f"{folder / WEIGHTS}: {name} holds values that are not finite. Fit it again.")
        model.load_state_dict(weights)
        return model.eval()

    def _stack(self) -> list[Gated]:
        return [block for block in self.blocks if isinstance(block, Gated)]

    def _embedded(self, items: Tensor, *, begin: bool) -> Tensor:
        x = self.items(items)
        if begin:
            x = torch.cat([self.begin.expand(len(x), 1, -1), x], 1)
        return torch.as_tensor(self.dropout(self.norm_in(x)))

    def _new(self, rows: int) -> State:
        """Users of whom nothing is known, before even the start vector."""
        layers = tuple(block.start(rows) for block in self._stack())
        return State(layers, self.begin.new_zeros(rows, len(self.begin)), self.fingerprint)

    def _continued(self, state: State, histories: list[np.ndarray], *, begin: bool) -> State:
        """States after more items, the start vector before them if the users are new."""
        longest = max((len(h) for h in histories), default=0)
        for start in range(0, max(longest, int(begin)), SEGMENT):
            items, lengths = (t.to(self.begin.device) for t in padded([h[start : start + SEGMENT] for h in histories]))
            first = begin and start == 0
            x = self._embedded(items, begin=first)
            layers: list[MixerState] = []
            lengths = lengths + first
            last = (lengths - 1).clamp(min=0)
            for block, before in zip(self._stack(), state.layers, strict=True):
                # Of the last block, only each user's last position is asked for.
                x, after = block.extend(x, before, lengths, last if len(layers) == len(self.blocks) - 1 else None)
                layers.append(after)
            vectors = torch.where((lengths > 0)[:, None], self.norm_out(x[:, 0]), state.vectors)
            state = State(tuple(layers), vectors, state.model)
        return state

    def _check(self, histories: Sequence[np.ndarray]) -> None:
        for row, history in enumerate(map(np.asarray, histories)):
            unknown = history[(history < 0) | (history >= self.n_items)]
            if len(unknown):
                raise ModelFault(
                    f"history {row}: item {unknown[0]} is not in the catalogue; its {self.n_items:,} items have codes "
                    f"0 to {self.n_items - 1}. Leave it out, or fit the retriever on a catalogue that has it."
                )

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Without dropout, whatever the mode."""
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)
