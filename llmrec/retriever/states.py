"""What the retriever remembers of users, so that a new event never needs their history again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from llmrec.errors import ModelFault
from llmrec.files import replacing
from llmrec.retriever.mixers import MixerState


@dataclass(frozen=True)
class State:
    """Some users, as one model remembers them. Never changed in place: an older state can be gone back to.

    `layers` hold each layer's mixer state, one row a user; `vectors` (b, d) are compared with item vectors to score the
    next item; `clock` (b,) float64 is the moment of each user's last item, nan where it is not known; `seen` has each
    user's items so far, which need not be recommended again; `model` is the fingerprint of the weights, which no other
    weights can go on from.
    """

    layers: tuple[MixerState, ...]
    vectors: Tensor
    clock: Tensor
    seen: tuple[np.ndarray, ...]
    model: str

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice | np.ndarray) -> State:
        layers = tuple(tuple(part[rows] for part in layer) for layer in self.layers)
        seen = tuple(self.seen[row] for row in np.arange(len(self))[rows])
        return State(layers, self.vectors[rows], self.clock[rows], seen, self.model)

    @staticmethod
    def join(states: Sequence[State]) -> State:
        """Several states' users, in order, as one. Raises ModelFault when they are not one model's."""
        if len({state.model for state in states}) != 1:
            raise ModelFault("states: these come from different weights, or there are none; join states of one model.")
        layers = tuple(
            tuple(torch.cat(parts) for parts in zip(*layer, strict=True))
            for layer in zip(*(state.layers for state in states), strict=True)
        )
        vectors, clock = (torch.cat([getattr(state, part) for state in states]) for part in ("vectors", "clock"))
        return State(layers, vectors, clock, sum((state.seen for state in states), ()), states[0].model)

    def save(self, path: Path) -> None:
        """Writes one safetensors file; a reader meets the old one or the new one, whole."""
        tensors = {f"layers/{i}/{j}": part for i, layer in enumerate(self.layers) for j, part in enumerate(layer)}
        tensors |= {"vectors": self.vectors, "clock": self.clock}
        tensors["seen"] = torch.from_numpy(np.concatenate([*self.seen, np.empty(0, np.int64)]).astype(np.int64))
        tensors["seen_of_each"] = torch.tensor([len(items) for items in self.seen], dtype=torch.int64)
        with replacing(path) as partial:
            contiguous = {name: part.cpu().contiguous() for name, part in tensors.items()}
            save_file(contiguous, partial, metadata={"state_of": self.model})

    @staticmethod
    def load(path: Path) -> State:
        """A saved state. Raises ModelFault when the file is missing, truncated, damaged, or holds something else."""
        try:
            with safe_open(path, framework="pt") as file:
                model = (file.metadata() or {})["state_of"]
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            vectors, clock, seen, of_each = (tensors.pop(name) for name in ("vectors", "clock", "seen", "seen_of_each"))
            layers: dict[int, dict[int, Tensor]] = {}
            for name, part in tensors.items():
                _, i, j = name.split("/")
                layers.setdefault(int(i), {})[int(j)] = part
            parts = tuple(tuple(layers[i][j] for j in range(len(layers[i]))) for i in range(len(layers)))
            users = {len(part) for part in (vectors, clock, of_each, *tensors.values())}
            if users != {len(vectors)} or len(seen) != of_each.sum():
                raise ValueError("its parts are of different numbers of users")
            if not all(part.isfinite().all() for part in (vectors, *tensors.values())):
                raise ValueError("it holds values that are not finite")
        except OSError as fault:
            raise ModelFault(f"{path}: no such state ({fault.strerror or fault}).") from None
        except (SafetensorError, KeyError, ValueError, TypeError) as fault:
            line = str(fault).splitlines()[0]
            raise ModelFault(f"{path}: not a state, or damaged ({line}). Make a new one from the history.") from None
        split = tuple(np.split(seen.numpy(), of_each.cumsum(0).numpy()[:-1])) if len(of_each) else ()
        return State(parts, vectors, clock, split, model)
