"""What surrounds a mixer: one layer of the retriever, looked up by the names that recipes use.

Letters of shapes: b rows, l positions, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.layout import PLAIN, Layout
from llmrec.retriever.mixers import MIXERS, Mixer, MixerState

EPS = 1e-12  # of Mamba4Rec's norms


class Block(nn.Module, ABC):
    """A mixer, and a network that looks at each position alone. A block says what it mixes, and what becomes of it."""

    mixer: Mixer

    @abstractmethod
    def before(self, x: Tensor) -> Tensor:
        """What the mixer is given of x (b, l, d)."""

    @abstractmethod
    def after(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The block's output from its input and the mixer's output, both (..., d)."""

    def forward(self, x: Tensor, layout: Layout = PLAIN) -> Tensor:
        """Whole histories that start from nothing: (b, l, d)."""
        return self.after(x, self.mixer(self.before(x), layout))

    def last(self, x: Tensor, layout: Layout = PLAIN) -> Tensor:
        """As forward, at each row's last real position only: (b, d). No other position is finished."""
        return self.after(layout.at_last(x), self.mixer.last(self.before(x), layout))

    def extend(
        self, x: Tensor, state: MixerState, layout: Layout = PLAIN, *, last: bool = False
    ) -> tuple[Tensor, MixerState]:
        """As forward, going on from a state; with `last`, each row's last real position only: (b, d)."""
        mixed, state = self.mixer.extend(self.before(x), state, layout)
        if last:
            x, mixed = layout.at_last(x), layout.at_last(mixed)
        return self.after(x, mixed), state


class Gated(Block):
    """x + sigmoid(W x) * F(norm x), once with the mixer for F and once with SwiGLU (Shazeer 2020, arXiv 2002.05202).

    The gated residual is LiGR's (Borisyuk et al. 2025, arXiv 2502.03417).
    """

    def __init__(self, section: Section) -> None:
        super().__init__()
        width = section.d_model
        self.mixer_norm, self.mixer_gate = nn.LayerNorm(width), nn.Linear(width, width)
        self.mixer = MIXERS[section.mixer](section)
        self.ff_norm, self.ff_gate = nn.LayerNorm(width), nn.Linear(width, width)
        self.ff_in = nn.Linear(width, 4 * width, bias=False)
        self.ff_out = nn.Linear(2 * width, width, bias=False)
        self.dropout = nn.Dropout(section.dropout)

    def before(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.mixer_norm(x))

    def after(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + torch.sigmoid(self.mixer_gate(x)) * self.dropout(mixed)
        gate, up = self.ff_in(self.ff_norm(x)).chunk(2, -1)
        thought: Tensor = self.dropout(self.ff_out(F.silu(gate) * up))
        return x + torch.sigmoid(self.ff_gate(x)) * thought


class Mamba4Rec(Block):
    """The published layer (Liu et al. 2024, arXiv 2403.03900): norms last, and a single layer has no residual.

    Its weights start as published: every matrix from a normal of .02, which also redraws Mamba's; where `dt_init` is
    not `zero`, step sizes keep their own start.
    """

    def __init__(self, section: Section) -> None:
        super().__init__()
        width = section.d_model
        self.alone = section.layers == 1
        self.mixer = MIXERS[section.mixer](section)
        self.dropout = nn.Dropout(section.dropout)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.w_1, self.w_2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.ff_norm = nn.LayerNorm(width, eps=EPS)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear) and not (name.endswith("dt_proj") and section.dt_init != "zero"):
                nn.init.normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def before(self, x: Tensor) -> Tensor:
        return x

    def after(self, x: Tensor, mixed: Tensor) -> Tensor:
        mixed = self.dropout(mixed)
        x = self.norm(mixed if self.alone else mixed + x)
        thought = self.dropout(self.w_2(self.dropout(F.gelu(self.w_1(x)))))
        return torch.as_tensor(self.ff_norm(thought + x))


BLOCKS: dict[str, Callable[[Section], Block]] = {"gated": Gated, "mamba4rec": Mamba4Rec}
"""Each is made from the retriever's section of a recipe."""
