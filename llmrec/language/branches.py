"""One prompt with branches: the prompt goes through the model once, and every branch sees the prompt and itself.

    said = branch_logps(model, prompts, branches, pad=tokenizer.pad_token_id)

What training asks, with gradients, and the same numbers as `llmrec.language.reading` gives to who asks about a prompt
again and again. Logits are made only where a token is asked for: of an attention model's packed row after the prompt's
last token and at all branch tokens but each one's last, which nothing comes after.

Shapes: b prompts, p tokens of the longest prompt, t packed branch tokens, n branches, v words of the vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor

from llmrec.language.logps import token_logps
from llmrec.language.packing import Ids, branches_row, mask, prompts_row, tail
from llmrec.language.reading import Branches, bare, forked, how, side_by_side, whole
from llmrec.progress import note


@dataclass
class Said:
    """Log-probabilities of the tokens of branches, and of the prompts' own where they were asked for."""

    tokens: Tensor
    """(N,) float32, in order of prompts, branches and tokens."""
    lengths: list[list[int]]
    """lengths[i][j]: tokens of prompt i's branch j."""
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


Rows = list[list[int]]  # of logits: for each branch in order, the row that says each of its tokens


def branch_logps(model: Any, prompts: Sequence[Ids], branches: Branches, *, pad: int, own: bool = False) -> Said:
    """Log-probability of every token of every branch after its prompt, differentiable.

    `own` also asks for the prompts' own tokens after their first, which costs logits at every position. The model may
    be wrapped (an adapter, data parallelism): it is only ever called as a whole. `pad` fills rows, masked.
    """
    way = how(bare(model).config)
    if way == "forked" and _checkpointed(model):
        way = "whole"
        _say_once("a checkpointed Mamba-2 keeps no state to fork; branches are read as whole sequences")
    heads = [list(prompt) for prompt in prompts]
    tails = [[list(branch) for branch in row] for row in branches]
    return WAYS[way](model, heads, tails, pad, own)


def _packed(model: Any, prompts: list[list[int]], branches: list[list[list[int]]], pad: int, own: bool) -> Said:
    row = prompts_row(prompts, pad, bare(model).device)
    p = row.ids.shape[1]
    after, columns = branches_row([[branch[:-1] for branch in some] for some in branches], row.lengths, pad)
    row = row + after
    width = row.ids.shape[1]
    seen = mask(bare(model).config, row, width)
    kept = width if own else width - p + 1
    keep = tail(width, kept, row.ids.device)
    out = model(row.ids, attention_mask=seen, position_ids=row.place, use_cache=False, logits_to_keep=keep)
    rows: Rows = []
    for i, some in enumerate(columns):
        end = i * kept + kept - 1 - (width - p)  # the prompt's last token
        rows += [[end, *(end + 1 + column for column in branch)] for branch in some]
    heads = _heads(prompts, kept, p) if own else None
    return _said([out.logits.flatten(0, 1)], prompts, branches, rows, heads)


def _forked(model: Any, prompts: list[list[int]], branches: list[list[list[int]]], pad: int, own: bool) -> Said:
    row = prompts_row(prompts, pad, bare(model).device)
    p, device = row.ids.shape[1], row.ids.device
    kept = p if own else 1
    out = model(row.ids, attention_mask=row.real.long(), use_cache=True, logits_to_keep=tail(p, kept, device))
    ends = [i * kept + kept - 1 for i, some in enumerate(branches) for _ in some]
    flat = [branch[:-1] for branch in chain(*branches)]
    logits = [out.logits.flatten(0, 1)]
    rows = [[end] for end in ends]
    if any(flat):
        counts = torch.tensor([len(some) for some in branches])
        state = forked(out.cache_params, torch.repeat_interleave(counts).to(device))
        after = model(side_by_side(flat, pad, device), cache_params=state, use_cache=True).logits  # (n, m, v)
        begin, m = len(logits[0]), after.shape[1]
        logits.append(after.flatten(0, 1))
        starts = range(begin, begin + m * len(flat), m)
        rows = [[end, *range(at, at + len(rest))] for end, at, rest in zip(ends, starts, flat, strict=True)]
    heads = _heads(prompts, kept, p) if own else None
    return _said(logits, prompts, branches, rows, heads)


def _whole(model: Any, prompts: list[list[int]], branches: list[list[list[int]]], pad: int, own: bool) -> Said:
    config = bare(model).config
    if how(config) == "whole":
        kind = config.model_type
        _say_once(f"{kind} offers neither a mask for branches nor a state to fork; they are read as whole sequences")
    flat = [(prompt, branch) for prompt, some in zip(prompts, branches, strict=True) for branch in some]
    start = 0 if own else min(map(len, prompts)) - 1  # nothing before the shortest prompt's end is asked for
    logits = whole(model, [prompt + branch[:-1] for prompt, branch in flat], pad, start)
    width = logits.shape[1]
    ends = [n * width + len(prompt) - 1 - start for n, (prompt, _) in enumerate(flat)]
    rows = [[*range(end, end + len(branch))] for end, (_, branch) in zip(ends, flat, strict=True)]
    firsts = accumulate((len(some) for some in branches), initial=0)
    heads = [range(n * width, n * width + len(prompt) - 1) for n, prompt in zip(firsts, prompts, strict=False)]
    return _said([logits.flatten(0, 1)], prompts, branches, rows, heads if own else None)


Way = Callable[[Any, list[list[int]], list[list[list[int]]], int, bool], Said]
WAYS: dict[str, Way] = {"packed": _packed, "forked": _forked, "whole": _whole}


def _heads(prompts: list[list[int]], kept: int, p: int) -> list[range]:
    """The rows of logits, `kept` a prompt, that say the own tokens of prompts padded on the left to `p`."""
    return [range(i * kept + p - len(prompt), i * kept + p - 1) for i, prompt in enumerate(prompts)]


def _said(
    logits: list[Tensor],
    prompts: list[list[int]],
    branches: list[list[list[int]]],
    rows: Rows,
    heads: Sequence[Sequence[int]] | None,
) -> Said:
    """From blocks of logits (r, v), their rows counted on, and which of those say each branch's and prompt's tokens."""
    ids = [*chain(*chain(*branches))]
    where, asked = [*chain(*rows)], len(ids)
    if heads is not None:
        where += chain(*heads)
        ids += chain(*(prompt[1:] for prompt in prompts))
    at, wanted = (torch.tensor(part, device=logits[0].device, dtype=torch.long) for part in (where, ids))
    parts, places, begin = [], [], 0
    for block in logits:
        mine = ((at >= begin) & (at < begin + len(block))).nonzero()[:, 0]
        parts.append(token_logps(block, at[mine] - begin, wanted[mine]))
        places.append(mine)
        begin += len(block)
    tokens = torch.cat(parts)[torch.cat(places).argsort()]
    own = None if heads is None else list(tokens[asked:].split([len(prompt) - 1 for prompt in prompts]))
    return Said(tokens[:asked], [[len(branch) for branch in some] for some in branches], own)


def _checkpointed(model: Any) -> bool:
    return bool(bare(model).training and getattr(bare(model), "is_activation_checkpointing", False))


@functools.cache
def _say_once(line: str) -> None:
    note(line)
