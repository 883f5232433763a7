"""Prompts that a model has read, to be asked about branches again and again, as a search through the catalogue does.

    state = read(model, prompts, pad=tokenizer.pad_token_id)        # b prompts, once
    said = state.logps(branches)                                    # b lists of branches, each a list of tokens

Attention models keep the prompts' keys and values and read all branches of a prompt as one packed row. Mamba-2 forks
the prompt's final state. Everything else reads whole sequences, with the same numbers. Logits are made where something
is asked, and nowhere else.

Shapes: b prompts, p prompt tokens, t packed branch tokens, n branches in all, m tokens of the longest branch, r places
where something is asked, q questions, v words of the vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from llmrec.language.logps import token_logps
from llmrec.language.packing import Ids, asked_of, branches_row, mask, prompts_row, tail

Branches = Sequence[Sequence[Ids]]

PACKED = {"llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gpt_neox"}
"""Families whose packed rows tests/language/test_branches.py holds equal to whole sequences, windows included."""
FORKED = {"mamba2"}
MASKABLE = {"sdpa", "eager"}  # what takes a mask of any shape


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
    """Some prompts that a model has read."""

    model: Any
    pad: int
    first: Tensor
    """(b, v) log-probabilities of the token after each prompt."""
    read: int = 0
    """Branch tokens that the model was given."""
    asked: int = 0
    """Tokens whose log-probability was asked for."""

    def logps(self, branches: Branches) -> list[list[Tensor]]:
        """Log-probability of every token of every branch of each prompt; single tokens cost no further pass."""
        flat = [*chain(*branches)]
        owner = [n for n, branch in enumerate(flat) for _ in branch]
        depth = [*chain(*(range(len(branch)) for branch in flat))]
        parts = iter(self.ask(branches, owner, depth, [*chain(*flat)]).split([*map(len, flat)]))
        return [[next(parts) for _ in some] for some in branches]

    def ask(self, branches: Branches, owner: Sequence[int], depth: Sequence[int], ids: Sequence[int]) -> Tensor:
        """Log-probability of token ids[q] after the first depth[q] tokens of branch owner[q]: (q,) float32.

        Branches are counted through all prompts. Tokens of a branch that no question comes after are not read.
        """
        prompt, fed = [i for i, some in enumerate(branches) for _ in some], [0] * sum(map(len, branches))
        for n, d in zip(owner, depth, strict=True):
            fed[n] = max(fed[n], d)
        self.read += sum(fed)
        self.asked += len(ids)
        device, lengths = self.first.device, iter(fed)
        of, at, wanted = (torch.tensor(part, dtype=torch.long, device=device) for part in (owner, depth, ids))
        begun = at == 0  # the prompt alone says what begins a branch
        said = self.first.new_empty(len(ids), dtype=torch.float32)
        said[begun] = self.first[torch.tensor(prompt, dtype=torch.long, device=device)[of[begun]], wanted[begun]]
        if any(fed):
            cut = [[list(branch[: next(lengths)]) for branch in some] for some in branches]
            logits, row = self._logits(cut, of[~begun], at[~begun] - 1)
            said[~begun] = token_logps(logits, row, wanted[~begun])
        return said

    def keep(self, rows: list[int]) -> None:
        """Forgets all prompts but these; branches are then given for these alone, in this order."""
        raise NotImplementedError

    def _logits(self, branches: list[list[list[int]]], owner: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (r, v), and which of them is at place (q,) of branch owner (q,). Branches may be empty."""
        raise NotImplementedError


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

    def _logits(self, branches: list[list[list[int]]], owner: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        row, columns = branches_row(branches, self.row.lengths, self.pad)
        width = row.ids.shape[1]
        cells = [[i * width + column for column in branch] for i, some in enumerate(columns) for branch in some]
        named = [cells[n][d] for n, d in zip(owner.tolist(), place.tolist(), strict=True)]
        asked, at = asked_of(torch.tensor(named, device=owner.device), row.ids.numel())
        logits: Tensor = self.model(
            row.ids,
            attention_mask=mask(bare(self.model).config, self.row + row, width),
            position_ids=row.place,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=asked.view_as(row.ids),
        ).logits
        self.cache.crop(-width)  # what the branches added is forgotten
        return logits, at

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

    def _logits(self, branches: list[list[list[int]]], owner: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        used, row = torch.unique(owner, return_inverse=True)
        flat, prompt = [*chain(*branches)], torch.tensor([i for i, some in enumerate(branches) for _ in some])
        ids = side_by_side([flat[n] for n in used.tolist()], self.pad, owner.device)
        asked, at = asked_of(row * ids.shape[1] + place, ids.numel())
        state = forked(self.cache, prompt.to(owner.device)[used])
        logits: Tensor = self.model(ids, cache_params=state, use_cache=True, logits_to_keep=asked.view_as(ids)).logits
        return logits, at

    def keep(self, rows: list[int]) -> None:
        chosen = torch.tensor(rows, device=self.first.device)
        self.cache, self.first = forked(self.cache, chosen), self.first[chosen]


class _Whole(Read):
    def __init__(self, model: Any, prompts: list[list[int]], pad: int) -> None:
        self.model, self.prompts, self.pad = model, prompts, pad
        logits = whole(model, prompts, pad)
        ends = torch.tensor([len(p) - 1 for p in prompts], device=logits.device)
        self.first = logits[torch.arange(len(prompts), device=logits.device), ends].float().log_softmax(-1)

    def _logits(self, branches: list[list[list[int]]], owner: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        used, row = torch.unique(owner, return_inverse=True)
        flat = [(prompt, branch) for prompt, some in zip(self.prompts, branches, strict=True) for branch in some]
        asked = [flat[n] for n in used.tolist()]
        start = min(len(prompt) for prompt, _ in asked)  # nothing before the shortest prompt's end is asked
        logits = whole(self.model, [prompt + branch for prompt, branch in asked], self.pad, start)
        after = torch.tensor([len(prompt) for prompt, _ in asked], device=owner.device) - start
        return logits.flatten(0, 1), row * logits.shape[1] + after[row] + place

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
