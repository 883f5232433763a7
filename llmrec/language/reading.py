"""Prompts that a model has read, to be asked about branches again and again, as a search through the catalogue does.

    state = read(model, prompts, pad=tokenizer.pad_token_id)        # b prompts, once
    said = state(branches, follow=True)                             # b lists of branches, each a list of tokens

Attention models keep the prompts' keys and values and read all branches of a prompt as one packed row. Mamba-2 forks
the prompt's final state. Everything else reads whole sequences, with the same numbers.

Shapes: b prompts, p prompt tokens, t packed branch tokens, n branches in all, m tokens of the longest branch, v words
of the vocabulary.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from llmrec.language.logps import log_mass, token_logps
from llmrec.language.packing import Ids, branches_row, mask, prompts_row, tail

Branches = Sequence[Sequence[Ids]]

PACKED = {"llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gpt_neox"}
"""Families whose packed rows tests/language/test_branches.py holds equal to whole sequences, windows included."""
FORKED = {"mamba2"}
MASKABLE = {"sdpa", "eager"}  # what takes a mask of any shape


@dataclass
class Said:
    """Log-probabilities of the tokens of branches, and of what may follow each branch where that was asked for."""

    tokens: Tensor
    """(N,) float32, in order of prompts, branches and tokens."""
    lengths: list[list[int]]
    """lengths[i][j]: tokens of prompt i's branch j."""
    next: list[list[Tensor]]
    """next[i][j]: (v,) log-probabilities of the token after branch j."""
    prompts: list[Tensor] | None = None
    """prompts[i]: log-probabilities of prompt i's own tokens after its first, where they were asked for."""

    @functools.cached_property
    def logps(self) -> list[list[Tensor]]:
        """logps[i][j]: (len(branch),) log-probability of each token of prompt i's branch j."""
        parts = iter(self.tokens.split([*chain(*self.lengths)]))
        return [[next(parts) for _ in row] for row in self.lengths]

    @property
    def sums(self) -> Tensor:
        """(n,) log-probability of each branch."""
        counts = torch.tensor([*chain(*self.lengths)], device=self.tokens.device)
        owner = torch.repeat_interleave(counts)
        return self.tokens.new_zeros(len(counts)).index_add(0, owner, self.tokens)


def how(config: Any) -> str:
    """`packed`, `forked` or `whole`: how a model with this transformers config reads branches."""
    kind = getattr(config, "model_type", "")
    if kind in FORKED:
        return "forked"
    return "packed" if kind in PACKED and config._attn_implementation in MASKABLE else "whole"


def read(model: Any, prompts: Sequence[Ids], *, pad: int) -> Read:
    """The model after each prompt. `pad` fills short prompts on the left, masked; any token will do."""
    return READERS[how(bare(model).config)](model, [list(p) for p in prompts], pad)


def bare(model: Any) -> Any:
    """The model without what data parallelism wraps around it."""
    while hasattr(model, "module"):
        model = model.module
    return model


class Read:
    """Some prompts that a model has read. Call it with the branches of each prompt."""

    model: Any
    pad: int
    first: Tensor
    """(b, v) log-probabilities of the token after each prompt."""

    def __call__(self, branches: Branches, *, follow: bool = False) -> Said:
        """Scores `branches[i]` after prompt i; `follow` also asks for the distribution after each branch."""
        raise NotImplementedError

    def keep(self, rows: list[int]) -> None:
        """Forgets all prompts but these; branches are then given for these alone, in this order."""
        raise NotImplementedError

    def logps(self, branches: Branches) -> list[list[Tensor]]:
        """Log-probability of every token of every branch; single tokens cost no further pass."""
        if all(len(branch) == 1 for row in branches for branch in row):
            return [[self.first[i, list(branch)] for branch in row] for i, row in enumerate(branches)]
        return self(branches).logps

    def _said(self, logits: Tensor, branches: Branches, starts: list[list[int]], follow: bool) -> Said:
        """From logits (r, v) of all branch tokens; starts[i][j] is the row of prompt i's branch j's first token."""
        rows: list[int] = []
        for some, begins in zip(branches, starts, strict=True):
            for branch, start in zip(some, begins, strict=True):
                rows += range(start, start + len(branch) - 1)
        flat = [*chain(*branches)]
        owner = [i for i, some in enumerate(branches) for _ in some]
        firsts, at, ids = (
            torch.tensor(part, device=logits.device, dtype=torch.long)
            for part in ([branch[0] for branch in flat], rows, [*chain(*(branch[1:] for branch in flat))])
        )
        begun = self.first[owner, firsts].split(1)  # the prompt alone says what begins a branch
        later = token_logps(logits, at, ids).split([len(branch) - 1 for branch in flat])
        after: list[list[Tensor]] = [[] for _ in branches]
        if follow:
            ends = [start + len(branch) - 1 for branch, start in zip(flat, chain(*starts), strict=True)]
            last = logits[ends].float()
            parts = iter(last - log_mass(last)[:, None])
            after = [[next(parts) for _ in some] for some in branches]
        lengths = [[len(branch) for branch in some] for some in branches]
        return Said(torch.cat([*chain(*zip(begun, later, strict=True))]), lengths, after)


class _Packed(Read):
    def __init__(self, model: Any, prompts: list[list[int]], pad: int) -> None:
        self.model, self.pad = model, pad
        self.row = prompts_row(prompts, pad, bare(model).device)
        # A cache that does not know the config keeps every key: a window counts places, and masks see to it.
        out = model(
            self.row.ids,
            attention_mask=self.row.real.long(),
            position_ids=self.row.place,
            past_key_values=DynamicCache(),
            use_cache=True,
            logits_to_keep=tail(self.row.ids.shape[1], 1, self.row.ids.device),
        )
        self.cache: DynamicCache = out.past_key_values
        self.first = out.logits[:, -1].float().log_softmax(-1)

    def __call__(self, branches: Branches, *, follow: bool = False) -> Said:
        row = branches_row(branches, self.row.lengths, self.pad)
        width = row.ids.shape[1]
        out = self.model(
            row.ids,
            attention_mask=mask(bare(self.model).config, self.row + row, width),
            position_ids=row.place,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache.crop(-width)  # what the branches added is forgotten
        starts = [
            [i * width + at for at in accumulate(map(len, some[:-1]), initial=0)] for i, some in enumerate(branches)
        ]
        return self._said(out.logits.flatten(0, 1), branches, starts, follow)

    def keep(self, rows: list[int]) -> None:
        chosen = torch.tensor(rows, device=self.first.device)
        self.cache.batch_select_indices(chosen)
        self.row, self.first = self.row[chosen], self.first[chosen]


class _Forked(Read):
    def __init__(self, model: Any, prompts: list[list[int]], pad: int) -> None:
        self.model, self.pad = model, pad
        row = prompts_row(prompts, pad, bare(model).device)
        keep = tail(row.ids.shape[1], 1, row.ids.device)
        out = model(row.ids, attention_mask=row.real.long(), use_cache=True, logits_to_keep=keep)
        self.cache = out.cache_params
        self.first = out.logits[:, -1].float().log_softmax(-1)

    def __call__(self, branches: Branches, *, follow: bool = False) -> Said:
        counts = torch.tensor([len(row) for row in branches])
        logits = self.model(
            side_by_side([*chain(*branches)], self.pad, self.first.device),
            cache_params=forked(self.cache, torch.repeat_interleave(counts).to(self.first.device)),
            use_cache=True,
        ).logits  # (n, m, v)
        number = iter(range(0, len(logits) * logits.shape[1], logits.shape[1]))
        return self._said(logits.flatten(0, 1), branches, [[next(number) for _ in row] for row in branches], follow)

    def keep(self, rows: list[int]) -> None:
        chosen = torch.tensor(rows, device=self.first.device)
        self.cache, self.first = forked(self.cache, chosen), self.first[chosen]


class _Whole(Read):
    def __init__(self, model: Any, prompts: list[list[int]], pad: int) -> None:
        self.model, self.prompts, self.pad = model, prompts, pad
        logits = whole(model, prompts, pad)
        ends = torch.tensor([len(p) - 1 for p in prompts], device=logits.device)
        self.first = logits[torch.arange(len(prompts), device=logits.device), ends].float().log_softmax(-1)

    def __call__(self, branches: Branches, *, follow: bool = False) -> Said:
        rows = [prompt + list(branch) for prompt, row in zip(self.prompts, branches, strict=True) for branch in row]
        logits = whole(self.model, rows, self.pad)
        number = iter(range(0, len(logits) * logits.shape[1], logits.shape[1]))
        starts = [[next(number) + len(prompt) for _ in row] for prompt, row in zip(self.prompts, branches, strict=True)]
        return self._said(logits.flatten(0, 1), branches, starts, follow)

    def keep(self, rows: list[int]) -> None:
        self.prompts, self.first = [self.prompts[i] for i in rows], self.first[rows]


READERS: dict[str, Callable[[Any, list[list[int]], int], Read]] = {
    "packed": _Packed,
    "forked": _Forked,
    "whole": _Whole,
}


def side_by_side(branches: Sequence[Ids], pad: int, device: torch.device) -> Tensor:
    """Branches as rows of their own, padded on the right, (n, m).

    At least two tokens wide: one alone would take Mamba-2's recurrent path, which changes the state in place.
    """
    width = max(2, max(map(len, branches)))
    return torch.tensor([[*branch, *[pad] * (width - len(branch))] for branch in branches], device=device)


def forked(cache: Any, rows: Tensor) -> Any:
    """A cache of recurrent states whose row i is row rows[i] of another, which stays as it was. Differentiable."""
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in fork.layers:
        for name in ("conv_states", "recurrent_states"):
            setattr(layer, name, {at: state.index_select(0, rows) for at, state in getattr(layer, name).items()})
        layer.has_previous_state = copy.copy(layer.has_previous_state)
    return fork


def whole(model: Any, rows: Sequence[Ids], pad: int, start: int = 0) -> Tensor:
    """Logits of whole sequences from place `start` on, (r, longest - start, v), padded on the right, with no cache."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=bare(model).device)
    real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=bare(model).device)
    keep = tail(width, width - start, ids.device)
    logits: Tensor = model(ids, attention_mask=real, use_cache=False, logits_to_keep=keep).logits
    return logits
