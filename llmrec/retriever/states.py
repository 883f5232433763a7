"""What the retriever remembers of users, so that a new event never needs their history again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmrec.errors import ModelFault
from llmrec.retriever.mixers import MixerState


@dataclass(frozen=True)
class State:
    """Some users, as one model remembers them. Never changed in place: an older state can be gone back to.

    `layers` hold each layer's mixer state, one row a user; `vectors` (b, d) are compared with item vectors to score the
    next item; `model` is the fingerprint of the weights, which no other weights can go on from.
    """

    layers: tuple[MixerState, ...]
    vectors: Tensor
    model: str

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice) -> State:
        layers = tuple(tuple(part[rows] for part in layer) for layer in self.layers)
        return State(layers, self.vectors[rows], self.model)

    @staticmethod
    def join(states: Sequence[State]) -> State:
        """Several states' users, in order, as one. Raises ModelFault when they are not one model's."""
        if len({state.model for state in states}) != 1:
            raise ModelFault("states: these come from different weights, or there are none; join states of one model.")
        layers = tuple(
            tuple(torch.cat(parts) for parts in zip(*layer, strict=True))
            for layer in zip(*(state.layers for state in states), strict=True)
        )
        return State(layers, torch.cat([state.vectors for state in states]), states[0].model)
