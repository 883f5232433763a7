"""One prompt with branches: the prompt goes through the model once, and every branch sees the prompt and itself.

    state = read(model, prompts, pad=tokenizer.pad_token_id)        # b prompts, once
    logps = state.logps(branches)                                   # b lists of branches, each a list of tokens

Attention models keep the prompts' keys and values and read all branches of a prompt as one packed row under a block
mask. Mamba-2 forks the prompt's final state. Everything else reads whole sequences, with the same numbers. Several
calls may follow one `read`: a search through the catalogue asks again and again about the same prompt.

Shapes: b prompts, p prompt tokens, t packed branch tokens, n branches in all, m tokens of the longest branch, v words
of the vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

Ids = Sequence[int]
PACKED = {"llama", "mistral", "qwen2", "qwen3", "gpt_neox"}
"""Families whose packed rows are held equal to whole sequences by tests/language/test_branches.py."""
FORKED = {"mamba2"}


@dataclass
class Branches:
    """What `Read.__call__` gives: for every branch, log-probabilities of its own tokens and of what may follow it."""

    logps: list[list[Tensor]]
    """logps[i][j]: (len(branch),) log-probability of each token of prompt i's branch j."""
    next: list[list[Tensor]]
    """next[i][j]: (v,) log-probabilities of the token after branch j."""


class Read:
    """Some prompts that a model has read. Call it with the branches of each prompt."""

    first: Tensor
    """(b, v) log-probabilities of the token after each prompt."""

    def __call__(self, branches: Sequence[Sequence[Ids]], *, follow: bool = False) -> Branches:
        """Scores `branches[i]` after prompt i; `follow` also asks for the distribution after each branch."""
        raise NotImplementedError

    def keep(self, rows: list[int]) -> None:
        """Forgets all prompts but these; branches are then given for these alone, in this order."""
        raise NotImplementedError

    def logps(self, branches: Sequence[Sequence[Ids]]) -> list[list[Tensor]]:
        """Log-probability of every token of every branch; single tokens cost no further pass."""
        if all(len(branch) == 1 for row in branches for branch in row):
            return [[self.first[i, list(branch)] for branch in row] for i, row in enumerate(branches)]
        return self(branches).logps


def how(config: Any) -> str:
    """`packed`, `forked` or `whole`: how a model with this transformers config reads branches."""
    kind = getattr(config, "model_type", "")
    if kind in FORKED:
        return "forked"
    layers = getattr(config, "layer_types", None)
    windowed = (
        any(kind != "full_attention" for kind in layers) if layers else bool(getattr(config, "sliding_window", None))
    )
    return "packed" if kind in PACKED and not windowed else "whole"


@torch.no_grad()
def read(model: PreTrainedModel, prompts: Sequence[Ids], *, pad: int) -> Read:
    """The model after each prompt. `pad` fills short prompts on the left, masked; any token will do."""
    return READERS[how(model.config)](model, [list(p) for p in prompts], pad)


class _Packed(Read):
    def __init__(self, model: PreTrainedModel, prompts: list[list[int]], pad: int) -> None:
        self.model, self.pad = model, pad
        ids, real = _left(prompts, pad, model.device)  # (b, p)
        places = (real.cumsum(1) - 1).clamp(min=0)
        out = model(ids, attention_mask=real.long(), position_ids=places, use_cache=True, logits_to_keep=1)
        self.cache: DynamicCache = out.past_key_values
        self.real, self.lengths = real, real.sum(1)
        self.first = out.logits[:, -1].float().log_softmax(-1)

    @torch.no_grad()
    def __call__(self, branches: Sequence[Sequence[Ids]], *, follow: bool = False) -> Branches:
        device = self.real.device
        flat = [[token for branch in row for token in branch] for row in branches]
        ids = pad_sequence(
            [torch.tensor(row, dtype=torch.long) for row in flat], batch_first=True, padding_value=self.pad
        )
        owner = pad_sequence(  # which branch a token belongs to; -1 is padding, and belongs to nobody
            [torch.tensor([j for j, br in enumerate(row) for _ in br], dtype=torch.long) for row in branches],
            batch_first=True,
            padding_value=-1,
        )
        depth = pad_sequence(
            [torch.tensor([d for br in row for d in range(len(br))], dtype=torch.long) for row in branches],
            batch_first=True,
        )
        ids, owner, depth = ids.to(device), owner.to(device), depth.to(device)  # (b, t)
        width = ids.shape[1]
        own = (owner[:, :, None] == owner[:, None, :]) & torch.ones(
            width, width, dtype=torch.bool, device=device
        ).tril()
        mask = torch.cat([self.real[:, None, :].expand(-1, width, -1), own], dim=2)[:, None]  # (b, 1, t, p + t)
        bias = torch.zeros(mask.shape, dtype=self.model.dtype, device=device).masked_fill(
            ~mask, torch.finfo(self.model.dtype).min
        )
        out = self.model(
            ids,
            attention_mask=bias,
            position_ids=self.lengths[:, None] + depth,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache.crop(-width)  # what the branches added is forgotten
        logits = out.logits
        tokens, mass = _token_logps(logits, ids, depth, self.first)
        said = Branches([], [])
        for i, row in enumerate(branches):
            ends = [0, *accumulate(map(len, row))]
            said.logps.append([tokens[i, start:end] for start, end in pairwise(ends)])
            said.next.append([logits[i, end - 1].float() - mass[i, end - 1] for end in ends[1:]] if follow else [])
        return said

    def keep(self, rows: list[int]) -> None:
        chosen = torch.tensor(rows, device=self.real.device)
        self.cache.batch_select_indices(chosen)
        self.real, self.lengths, self.first = self.real[chosen], self.lengths[chosen], self.first[chosen]


class _Forked(Read):
    def __init__(self, model: PreTrainedModel, prompts: list[list[int]], pad: int) -> None:
        self.model, self.pad = model, pad
        ids, real = _left(prompts, pad, model.device)
        out = model(ids, attention_mask=real.long(), use_cache=True, logits_to_keep=1)
        self.cache = out.cache_params
        self.first = out.logits[:, -1].float().log_softmax(-1)

    @torch.no_grad()
    def __call__(self, branches: Sequence[Sequence[Ids]], *, follow: bool = False) -> Branches:
        flat = [list(branch) for row in branches for branch in row]
        counts = torch.tensor([len(row) for row in branches])
        rows = torch.repeat_interleave(torch.arange(len(branches)), counts).to(self.first.device)
        width = max(2, max(map(len, flat)))  # one token alone would take the in-place recurrent path
        ids = torch.full((len(flat), width), self.pad, device=self.first.device)
        for r, branch in enumerate(flat):
            ids[r, : len(branch)] = torch.tensor(branch)
        state = copy.deepcopy(self.cache)
        state.reorder_cache(rows)
        logits = self.model(ids, cache_params=state, use_cache=True).logits  # (n, m, v)
        return _unrolled(logits, ids, self.first[rows], branches, follow)

    def keep(self, rows: list[int]) -> None:
        chosen = torch.tensor(rows, device=self.first.device)
        self.cache.reorder_cache(chosen)
        self.first = self.first[chosen]


class _Whole(Read):
    def __init__(self, model: PreTrainedModel, prompts: list[list[int]], pad: int) -> None:
        self.model, self.prompts, self.pad = model, prompts, pad
        self.first = torch.cat(self._after(prompts, [1] * len(prompts))).float().log_softmax(-1)

    @torch.no_grad()
    def __call__(self, branches: Sequence[Sequence[Ids]], *, follow: bool = False) -> Branches:
        flat = [(prompt, list(branch)) for prompt, row in zip(self.prompts, branches, strict=True) for branch in row]
        tails = self._after([prompt + branch for prompt, branch in flat], [len(branch) for _, branch in flat])
        ids = pad_sequence(
            [torch.tensor(b, device=self.first.device) for _, b in flat], batch_first=True, padding_value=self.pad
        )
        rows = [i for i, row in enumerate(branches) for _ in row]
        return _unrolled(pad_sequence(tails, batch_first=True), ids, self.first[rows], branches, follow)

    def keep(self, rows: list[int]) -> None:
        self.prompts, self.first = [self.prompts[i] for i in rows], self.first[rows]

    def _after(self, rows: list[list[int]], keep: list[int]) -> list[Tensor]:
        """For each row the logits after its last `keep` tokens, (keep, v). Right padding, no cache."""
        width = max(map(len, rows))
        ids = torch.tensor([row + [self.pad] * (width - len(row)) for row in rows], device=self.model.device)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self.model.device)
        logits = self.model(ids, attention_mask=real, use_cache=False).logits
        return [logits[r, len(row) - k : len(row)] for r, (row, k) in enumerate(zip(rows, keep, strict=True))]


READERS: dict[str, Callable[[PreTrainedModel, list[list[int]], int], Read]] = {
    "packed": _Packed,
    "forked": _Forked,
    "whole": _Whole,
}


def _left(prompts: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, and which tokens are real: (b, p) each."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
    real = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device)
    return ids, real


def _token_logps(logits: Tensor, ids: Tensor, depth: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each token (r, t), and the log of each position's total mass (r, t).

    logits: (r, t, v); ids and depth: (r, t), depth being a token's place in its branch; first: (r, v) log-probabilities
    after the prompt. A branch's first token is scored by the prompt, each other by the token before it. Only what is
    asked for is normalised: a softmax over everything would write r x t x v numbers to read r x t of them.
    """
    mass = logits.float().logsumexp(-1)
    begun = first.gather(1, ids)
    said = logits[:, :-1].gather(2, ids[:, 1:, None])[..., 0].float() - mass[:, :-1]
    return torch.where(depth == 0, begun, torch.cat([begun[:, :1], said], dim=1)), mass


def _unrolled(logits: Tensor, ids: Tensor, first: Tensor, branches: Sequence[Sequence[Ids]], follow: bool) -> Branches:
    """From a row a branch, prompt 0's first: logits (n, m, v) and ids (n, m), padded on the right; first (n, v)."""
    depth = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    tokens, mass = _token_logps(logits, ids, depth, first)
    said, n = Branches([], []), 0
    for row in branches:
        lengths = [len(branch) for branch in row]
        said.logps.append([tokens[n + j, :m] for j, m in enumerate(lengths)])
        said.next.append(
            [logits[n + j, m - 1].float() - mass[n + j, m - 1] for j, m in enumerate(lengths)] if follow else []
        )
        n += len(row)
    return said
